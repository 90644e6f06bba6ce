"""Regions: where buyers and merchants are, consistent with the zone of each order."""

import numpy as np
import pandas as pd

from freightrisk.simulation.catalogue import ZONE_FIRST_FEE
from freightrisk.simulation.draws import Draws
from freightrisk.simulation.orders import Codes, Floats, chosen, labelled

# Provinces: longitude and latitude of the capital in degrees, and millions of people in the census of 2020.
REGIONS = {
    "beijing": (116.4, 39.9, 22), "tianjin": (117.2, 39.1, 14), "hebei": (114.5, 38.0, 75),
    "shanxi": (112.5, 37.9, 35), "inner_mongolia": (111.7, 40.8, 24), "liaoning": (123.4, 41.8, 43),
    "jilin": (125.3, 43.9, 24), "heilongjiang": (126.6, 45.8, 32), "shanghai": (121.5, 31.2, 25),
    "jiangsu": (118.8, 32.1, 85), "zhejiang": (120.2, 30.3, 65), "anhui": (117.3, 31.9, 61),
    "fujian": (119.3, 26.1, 42), "jiangxi": (115.9, 28.7, 45), "shandong": (117.0, 36.7, 102),
    "henan": (113.7, 34.8, 99), "hubei": (114.3, 30.6, 58), "hunan": (113.0, 28.2, 66),
    "guangdong": (113.3, 23.1, 126), "guangxi": (108.3, 22.8, 50), "hainan": (110.3, 20.0, 10),
    "chongqing": (106.5, 29.6, 32), "sichuan": (104.1, 30.7, 84), "guizhou": (106.7, 26.6, 39),
    "yunnan": (102.7, 25.0, 47), "tibet": (91.1, 29.7, 4), "shaanxi": (108.9, 34.3, 40),
    "gansu": (103.8, 36.1, 25), "qinghai": (101.8, 36.6, 6), "ningxia": (106.3, 38.5, 7),
    "xinjiang": (87.6, 43.8, 26),
}  # fmt: skip
REMOTE = ("inner_mongolia", "hainan", "tibet", "xinjiang")
MERCHANT_REGIONS = {
    "zhejiang": 0.25, "guangdong": 0.25, "jiangsu": 0.12, "fujian": 0.10, "shandong": 0.08, "hebei": 0.06,
    "shanghai": 0.05, "henan": 0.04, "hubei": 0.03, "sichuan": 0.02,
}  # fmt: skip
NEAREST, NEXT = 6, 16  # regions up to this rank of distance are neighbouring, or mid-range; the others are far


def merchant_regions(draws: Draws, merchant_id: Codes) -> Codes:
    """Return the place of each merchant among the merchants' regions."""
    return chosen(draws.uniform("region", merchant_id), list(MERCHANT_REGIONS.values()))


def region_labels(place: Codes) -> pd.Categorical:
    """Return the region of each place among the merchants' regions."""
    place_of = {name: k for k, name in enumerate(REGIONS)}
    return labelled(np.array([place_of[name] for name in MERCHANT_REGIONS])[place], REGIONS)


def buyer_regions(draws: Draws, merchant_place: Codes, zone: Codes) -> pd.Categorical:
    """Return the region of each order's address: by population, among the regions in the order's zone."""
    row = merchant_place * len(ZONE_FIRST_FEE) + zone
    return labelled(chosen(draws.uniform("region", np.arange(len(zone))), _by_route(), row), REGIONS)


def is_remote() -> np.ndarray:
    """Return which regions are remote."""
    return np.isin(list(REGIONS), REMOTE)


def _by_route() -> Floats:
    """Return the people in each region, by region of the merchant and zone; 0 outside the zone."""
    longitude, latitude, people = np.array(list(REGIONS.values())).T
    names, remote = list(REGIONS), is_remote()
    table = np.zeros((len(MERCHANT_REGIONS), len(ZONE_FIRST_FEE), len(names)))
    for k, home in enumerate(map(names.index, MERCHANT_REGIONS)):
        # A degree of longitude is shorter than a degree of latitude by the cosine of the latitude.
        narrower = np.cos(np.radians(latitude[home]))
        away = np.hypot((longitude - longitude[home]) * narrower, latitude - latitude[home])
        away[remote] = np.inf
        rank = np.argsort(np.argsort(away))
        zone = np.where(remote, 4, np.where(rank == 0, 0, np.where(rank <= NEAREST, 1, np.where(rank <= NEXT, 2, 3))))
        table[k, zone, np.arange(len(names))] = people
    return table.reshape(-1, len(names))
