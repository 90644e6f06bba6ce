"""The tables behind a simulated book: industries, relativities, fees and shares (sources in docs/synthetic)."""

import numpy as np

INDUSTRY_COLUMNS = ("share", "claim_rate", "weight_kg", "weight_sigma", "price", "price_sigma", "live_pull")
INDUSTRIES = {  # the columns above, then the categories, largest first
    "womens_wear": (0.18, 0.165, 0.45, 0.45, 130, 0.60, 2.0, "dresses tops trousers knitwear coats"),
    "home_kitchen": (0.16, 0.021, 1.10, 0.75, 60, 0.80, 0.8, "storage cookware bedding tableware lighting"),
    "beauty": (0.11, 0.019, 0.30, 0.50, 90, 0.75, 1.5, "skincare make_up hair_care fragrance tools"),
    "shoes_bags": (0.10, 0.105, 1.00, 0.35, 160, 0.65, 1.2, "womens_shoes trainers mens_shoes bags luggage"),
    "groceries": (0.10, 0.008, 2.20, 0.70, 45, 0.60, 0.8, "snacks grain_oil drinks tea cleaning"),
    "childrens": (0.09, 0.055, 0.60, 0.60, 80, 0.70, 1.2, "kids_clothes toys kids_shoes baby_care school"),
    "electronics": (0.09, 0.018, 0.60, 0.80, 180, 1.10, 0.6, "phone_parts audio computers smart_home photo"),
    "mens_wear": (0.07, 0.080, 0.55, 0.45, 120, 0.60, 1.0, "shirts trousers jackets suits underwear"),
    "accessories": (0.03, 0.050, 0.20, 0.50, 70, 0.90, 2.0, "jewellery hats scarves belts watches"),
    "sports": (0.03, 0.045, 1.20, 0.80, 110, 0.80, 0.8, "sportswear fitness camping cycling fishing"),
    "books": (0.02, 0.005, 0.80, 0.60, 40, 0.55, 0.7, "fiction textbooks picture_books comics maps"),
    "furniture": (0.02, 0.018, 7.00, 0.70, 380, 0.80, 0.6, "chairs tables shelves sofas mattresses"),
}
LEAVES_BY_RANK, CATEGORY_ZIPF, LEAF_ZIPF = (8, 7, 6, 5, 4), 1.0, 1.8
CATEGORY_SPREAD, LEAF_SPREAD, PRICE_SPREAD = 0.18, 0.25, 0.25

LEVEL_FREQUENCY = {
    "channel": {"shelf": 1.0, "live_stream": 1.55, "group_deal": 0.85, "ten_billion": 0.92, "search": 1.08},
    "campaign": {"none": 1.00, "618": 1.20, "double_11": 1.35, "double_12": 1.12},
    "zone": {"intra_province": 1.00, "neighbouring": 0.98, "mid_range": 0.95, "far": 0.90, "remote": 0.80},
}
LINE_FREQUENCY = ("region", "merchant_tier")  # factors whose tables a book of lines may have beside these
BAND_EDGES = {
    "price": (20.0, 50.0, 100.0, 200.0, 500.0, 1000.0),
    "weight_kg": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0),
    "experience_score": (3.5, 4.0, 4.3, 4.5, 4.6, 4.7, 4.8, 4.9),
}
BAND_FREQUENCY = {
    "price": (0.60, 0.82, 1.00, 1.10, 1.16, 1.10, 0.95),
    "weight_kg": (1.00, 0.97, 0.94, 0.91, 0.88, 0.86, 0.84, 0.82, 0.81, 0.80, 0.78),
    "experience_score": (1.42, 1.30, 1.20, 1.13, 1.08, 1.04, 1.00, 0.95, 0.90),
}
ZONE_FIRST_FEE = {"intra_province": 5.0, "neighbouring": 7.0, "mid_range": 9.0, "far": 12.0, "remote": 22.0}
WEIGHT_SEVERITY = (1.00, 1.25, 1.50, 1.75, 2.00, 2.25, 2.50, 2.75, 3.00, 3.25, 3.50)
FREQUENCY_BASE, FREIGHT_SHAPE, LAG_MEAN_DAYS, LAG_SHAPE, COVER_DAYS = 0.05, 10.0, 11.0, 2.5, 90

CHANNEL_MIX = {  # by merchant segment, channels in the order above
    "new": (0.50, 0.12, 0.16, 0.07, 0.15),
    "small_medium": (0.48, 0.12, 0.14, 0.10, 0.16),
    "quality_industry": (0.46, 0.08, 0.14, 0.22, 0.10),
    "live_streaming": (0.15, 0.70, 0.05, 0.05, 0.05),
    "large": (0.50, 0.14, 0.08, 0.14, 0.14),
}
SEGMENT_SHARES = (0.27, 0.49, 0.13, 0.11, 0.00)  # "large" has no share, because size decides it
SIZE_PARETO, SIZE_CAP, SIZE_LARGE, SCORE_POWER = 1.2, 300.0, 8.0, 7.0
ORDERS_PER_MERCHANT, LEAST_MERCHANTS, START_DATE = 250, 50, np.datetime64("2025-01-01", "us")
CAMPAIGN_WINDOWS = {"618": (601, 620), "double_11": (1024, 1114), "double_12": (1208, 1214)}
CAMPAIGN_VOLUME, CANCELLED_SHARE = (1.0, 1.8, 2.5, 1.5), 0.02
SHIP_DELAY_SHARES, LINE_SHARES = (0.45, 0.35, 0.15, 0.05), (0.72, 0.17, 0.07, 0.03, 0.01)
MERCHANT_TIERS = {"standard": 0.80, "strong": 0.12, "super_factory": 0.05, "black_label": 0.03}
ZONE_SHARES = (0.20, 0.28, 0.27, 0.19, 0.06)
