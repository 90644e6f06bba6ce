"""The ledger: the spending of campaigns in a database. Each batch of orders counts exactly once, even after a kill.

A batch is priced without a lock, from a snapshot of earlier spending. One short transaction then records it if the
snapshot still gives the same fen; otherwise the batch is priced again. The fen are therefore the same as if the batches
had been priced one after another, in the order of their numbers. Nothing is written before all fen are known.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import sqlalchemy as sa

from freightrisk import _check
from freightrisk._columns import PricingColumns, id_array
from freightrisk._intake import DEFAULT_CLOCK, check_clock
from freightrisk._shown import repr_of
from freightrisk.errors import InputError, LedgerError
from freightrisk.pipeline.addresses import shown, whole_path
from freightrisk.pipeline.batch import PricedBatch, Recorded, Snapshot, Unpriced
from freightrisk.pipeline.database import Database, repeated
from freightrisk.pipeline.entries import (
    add_campaigns,
    amend_campaigns,
    campaign_rows,
    check_terms,
    erase,
    give_back,
    record,
    recorded_of,
    spent_now,
)
from freightrisk.pipeline.fund_entries import add_funds, amend_funds, check_fund_terms, fund_rows
from freightrisk.pipeline.tables import (
    BATCHES,
    ENTRIES,
    FUND_SPENDING,
    HEAD,
    LOCK_NUMBER,
    REMAINDERS,
    REVERSED,
    SPENDING,
    TABLES,
    VERSION,
    WHOLE,
    engine_of,
    table_by_name,
    table_of,
)
from freightrisk.pipeline.version_batches import VersionBatches, limits_of
from freightrisk.programme.priced import PricedBy, TariffOrProgramme, check_priced
from freightrisk.programme.versions import Versions
from freightrisk.tariff.quotes import frame_of

if TYPE_CHECKING:
    import pandas as pd

TRIES = 4  # pricings of a batch; the last one holds the lock, so it cannot fail because of other writers
IDS_AT_ONCE = 500  # order ids in one statement; SQLite before 3.32 allows 999 parameters


class Ledger:
    """Spending of campaigns in a database: an SQLite file, or PostgreSQL.

    Parameters
    ----------
    where : str, Path or sqlalchemy.Engine
        Path of an SQLite file, which is made if it does not exist, or a URL such as
        ``"postgresql+psycopg://host/spending"``. A text with ``://`` is a URL. A `Path` is always a path, whatever the
        characters of its name.
    clock : str, optional
        Time zone of the days of funds and of the days and months of caps by merchant; tariffs must have the same clock.
        By default a new ledger takes Asia/Shanghai, and an existing ledger keeps its clock.

    Raises
    ------
    InputError
        If `where` is a folder, a URL of an unknown database or driver, or an engine without the isolation that a ledger
        needs: an engine for asyncio, or an engine that gives each connection its own database in memory.
    LedgerError
        If the database cannot be reached, is not a ledger, or refuses a statement. All methods of a ledger raise it
        too.

    Notes
    -----
    Needs ``pip install 'freightrisk[ledger]'``. Any number of processes and threads may use one ledger at a time. The
    ledger opens its own connections and sets their isolation, whatever the isolation of the engine. It keeps the
    engine's options and listeners. Forked processes get new connections. A ledger made from a path or URL can be
    pickled; the pickle holds the password of the URL. Merchants and order ids are kept as texts.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from freightrisk import Factor, FrequencyModel, Ledger, OrderBook, SeverityModel, Subsidy, Tariff
    >>> orders = pd.DataFrame({"order_id": range(8), "zone": ["near", "far"] * 4})
    >>> orders["ship_date"] = pd.Timestamp("2026-06-01")
    >>> claims = pd.DataFrame({"order_id": [0, 1, 3], "freight": [8.0, 15.0, 17.0]})
    >>> book = OrderBook.from_frames(orders, claims, factors=[Factor("zone")], report_date=None)
    >>> grant = Subsidy("618 live", "platform", fixed_fen=30, budget_fen=200)
    >>> tariff = Tariff.build(FrequencyModel().fit(book), SeverityModel().fit(book), subsidies=[grant])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ledger = Ledger(Path(folder) / "spending.db")
    ...     first = ledger.price(tariff, orders, batch="2026-06-01")
    ...     again = ledger.price(tariff, orders, batch="2026-06-01")  # a re-run spends nothing twice
    ...     ledger.confirm("2026-06-01")
    ...     left = int(ledger.spending().loc["618 live", "left_fen"])
    ...     ledger.close()
    >>> first["platform_fen"].tolist(), first.equals(again), left
    ([30, 30, 30, 30, 30, 30, 20, 0], True, 0)
    """

    def __init__(self, where: "str | Path | sa.Engine", *, clock: str | None = None) -> None:
        if clock is not None:
            check_clock(clock)
        # Kept for pickling, because another process can make its own engine from a path or URL.
        self._given = whole_path(where)
        is_own = not isinstance(where, sa.Engine)
        self._database = Database(where if isinstance(where, sa.Engine) else engine_of(where), is_own=is_own)
        self._engine = self._database.engine
        try:
            self._database.check_isolation()
            self.clock = self._open(clock)
            self._database.check_sharing(HEAD.c.version)
        except BaseException:
            self.close()  # otherwise the refused database stays open until the engine is garbage-collected
            raise

    def __reduce__(self) -> Any:
        if isinstance(self._given, sa.Engine) or self._database.is_shared:
            raise LedgerError(
                "a ledger of an engine or in memory cannot be pickled; give another process the path or URL, and make "
                "the ledger there."
            )
        return type(self), (self._given,)

    @repeated
    def _open(self, clock: str | None) -> str:
        """Return the clock; makes missing tables, and refuses tables of another release or clock."""
        with self._database.transaction(alone=True) as connection:
            if connection.dialect.name == "postgresql":
                # There is no row to lock yet, and two processes that create one table at once get an error.
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK_NUMBER)))
            TABLES.create_all(connection)
            version = connection.execute(sa.select(HEAD.c.version)).scalar()
            if version is None:
                known = DEFAULT_CLOCK if clock is None else clock
                connection.execute(HEAD.insert().values(version=VERSION, batches=0, clock=known))
                return known
            if version != VERSION:
                raise LedgerError(f"the ledger is of version {version}; this release reads version {VERSION}.")
            known = str(connection.execute(sa.select(HEAD.c.clock)).scalar())
        if clock not in (None, known):
            raise LedgerError(f"clock is '{clock}', but the clock of this ledger is '{known}'; leave clock out.")
        return known

    def __repr__(self) -> str:
        return f"Ledger in {shown(self._engine.url)}, clock {self.clock}"

    def close(self) -> None:
        """Close the ledger's connections to the database."""
        self._database.close()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def price(
        self,
        tariff: PricedBy,
        orders: Any,
        *,
        batch: str,
        merchants: Any = None,
        threads: int | None = None,
        detail: bool = True,
        campaigns: bool = False,
        progress: bool = False,
        **columns: Unpack[PricingColumns],
    ) -> Any:
        """Return the quotes of a batch of orders, as `Tariff.price` does, and reserve the spending of its campaigns.

        Parameters
        ----------
        tariff : Tariff, Programme or Versions
        orders, merchants, threads, detail, campaigns, progress, columns
            As for `Tariff.price`, but the orders must not be encoded yet.
        batch : str
            Id of the batch. A recorded batch is priced again from its recorded opening and limits. It gives the same
            fen and spends nothing. Without limited campaigns, orders with the same fen count as the same batch. Of
            versions, the orders of each are a batch of their own, with the id ``<batch>/<name of the programme>``.

        Raises
        ------
        LedgerError
            If the id belongs to a batch of other orders or of another tariff, if an order already has money of a
            campaign from another batch, or if a campaign has other limits in the ledger than in the tariff.
        """
        _check.label(batch, argument="batch")
        tariff = check_priced(tariff)
        campaigns = _check.flag(campaigns, argument="campaigns")
        threads = _check.threads(threads)
        if tariff.clock != self.clock:
            raise LedgerError(
                f"the tariff's clock is '{tariff.clock}' and the ledger's clock is '{self.clock}', so the days of caps "
                "would differ; build the tariff with the ledger's clock, or keep one ledger for each clock."
            )
        options: dict[str, Any] = {"threads": threads, "detail": detail, "progress": progress}

        def encode(priced: PricedBy) -> Any:
            return priced.encode(orders, merchants=merchants, threads=threads, **columns)

        def encoded(tariff: TariffOrProgramme) -> Unpriced:
            return Unpriced(tariff, encode(tariff), options)

        if isinstance(tariff, Versions):
            batches = VersionBatches(tariff, batch, options, self._find, self._price_new)
            return batches.price(encode, campaigns=campaigns)

        done: PricedBatch | Recorded | None = self._find(batch)
        if done is None:
            unpriced = encoded(tariff)
            done = self._price_new(batch, unpriced)
        if isinstance(done, Recorded):
            unpriced = encoded(done.tariff(tariff))
            done = unpriced.priced_again(done, batch)
        wanted = [name for name in done.columns if campaigns or not name.startswith("paid: ")]
        return frame_of({name: done.columns[name] for name in wanted}, unpriced.coded)

    def _price_new(self, batch: str, unpriced: Unpriced) -> PricedBatch | Recorded:
        """Return a batch priced and recorded, or its record if another process has recorded it meanwhile."""
        tries = 0
        while True:
            opening = self._opening(batch, unpriced)
            if isinstance(opening, Recorded):
                return opening
            # If other writers were faster each time, the last try prices while it holds the lock, and they wait.
            done = unpriced.priced(opening) if tries < TRIES - 1 else None
            found = self._enter(batch, unpriced, done)
            if found is not None:
                return found
            tries += 1

    @repeated
    def _find(self, batch: str) -> Recorded | None:
        with self._begin() as connection:
            return recorded_of(connection, batch)

    @repeated
    def _opening(self, batch: str, unpriced: Unpriced) -> Snapshot | Recorded:
        """Return a snapshot of spending, or the record of the batch if it has one; records new campaigns."""
        with self._begin() as connection:
            recorded = recorded_of(connection, batch)
            if recorded is not None:
                return recorded
            missing = check_terms(connection, unpriced.limited)
            no_fund = check_fund_terms(connection, unpriced.funds)
            now = spent_now(connection, unpriced)
        if missing or no_fund:
            # Read again under the lock, because another process may have recorded them since.
            with self._locked() as connection:
                add_campaigns(connection, check_terms(connection, unpriced.limited))
                add_funds(connection, check_fund_terms(connection, unpriced.funds))
        return now

    @repeated
    def _enter(self, batch: str, unpriced: Unpriced, done: PricedBatch | None) -> PricedBatch | Recorded | None:
        """Record a batch, after pricing it if `done` is None; return None if its snapshot no longer gives its fen."""
        with self._locked() as connection:
            recorded = recorded_of(connection, batch)
            if recorded is not None:
                return recorded
            check_terms(connection, unpriced.limited)
            check_fund_terms(connection, unpriced.funds)
            now = spent_now(connection, unpriced)
            if done is None:
                done = unpriced.priced(now)
            elif not done.holds(now, unpriced.limited, unpriced.funds):
                return None
            record(connection, batch, done, now, unpriced)
        return done

    @repeated
    def confirm(self, batch: str) -> None:
        """Turn the reserved money of a batch into spending, once its quotes are in place.

        Confirming a batch twice does no harm.

        Parameters
        ----------
        batch : str

        Raises
        ------
        LedgerError
            If the ledger has no such batch.
        """
        with self._locked() as connection:
            changed = connection.execute(BATCHES.update().where(BATCHES.c.batch == batch).values(state="spent"))
            if not changed.rowcount:
                raise LedgerError(f"there is no batch '{batch}' in the ledger.")

    @repeated
    def release(self, batch: str) -> None:
        """Give back the reserved money of a batch, as if it had never been priced; its id becomes free.

        Batches that were priced later keep their fen.

        Parameters
        ----------
        batch : str

        Raises
        ------
        LedgerError
            If the ledger has no such batch, or if the batch is confirmed.
        """
        with self._locked() as connection:
            state = connection.execute(sa.select(BATCHES.c.state).where(BATCHES.c.batch == batch)).scalar()
            if state != "reserved":
                why = "is not in the ledger" if state is None else "is confirmed; reverse its orders instead"
                raise LedgerError(f"batch '{batch}' {why}.")
            erase(connection, batch)

    def reverse(self, order_ids: Iterable[Any]) -> "pd.DataFrame":
        """Give back the money that campaigns paid for orders cancelled before shipment, and return these payments.

        Parameters
        ----------
        order_ids : iterable of ids

        Returns
        -------
        pandas.DataFrame
            A row for each order and campaign that was reversed: order_id (text), campaign, batch, merchant, period,
            fen. Orders without money of a limited campaign, and orders reversed before, have no row.
        """
        import pandas as pd

        wanted = "give a list or column of ids, such as ['12', '13']"
        if isinstance(order_ids, Mapping) or hasattr(order_ids, "columns"):
            raise InputError(f"order_ids is {repr_of(order_ids)}; {wanted}.")
        ids = order_ids.to_pylist() if hasattr(order_ids, "to_pylist") else order_ids
        listed = _check.items(ids, argument="order_ids", such=wanted)
        given = id_array(np.fromiter(listed, dtype=object, count=len(listed)), argument="order_ids")
        _check.refuse_rows(
            np.array([one is None for one in given.tolist()], dtype=bool),
            "order_ids has no id in {rows}; name every order by its id.",
        )
        found = self._reverse([str(one) for one in dict.fromkeys(given.tolist())])
        names = ["order_id", "campaign", "batch", "merchant", "period", "fen"]
        return pd.DataFrame([[getattr(row, name) for name in names] for row in found], columns=names)

    @repeated
    def _reverse(self, ids: list[str]) -> list[Any]:
        found: list[Any] = []
        with self._locked() as connection:
            for start in range(0, len(ids), IDS_AT_ONCE):
                some = ids[start : start + IDS_AT_ONCE]
                rows = give_back(connection, "order_id", some)
                if rows:
                    copied = [
                        {"batch": row.batch, "order_id": row.order_id, "campaign": row.campaign, "fen": row.fen}
                        for row in rows
                    ]
                    connection.execute(REVERSED.insert(), copied)
                    connection.execute(ENTRIES.delete().where(ENTRIES.c.order_id.in_(some)))
                found += rows
        return found

    @repeated
    def amend(self, tariff: PricedBy) -> None:
        """Set the limits of campaigns and funds in the ledger to their limits in a tariff; spending stays as it is.

        What a campaign has paid stays with the fund that paid it.

        Parameters
        ----------
        tariff : Tariff, Programme or Versions
            Of versions, the campaigns and funds of all programmes.
        """
        limited, funds = limits_of(check_priced(tariff))
        with self._locked() as connection:
            amend_campaigns(connection, limited)
            amend_funds(connection, funds)

    @repeated
    def spending(self) -> "pd.DataFrame":
        """Return one row for each campaign: payer, budget_fen, spent_fen (confirmed), reserved_fen and left_fen."""
        with self._begin() as connection:
            rows = campaign_rows(connection)
        names = ["budget_fen", "spent_fen", "reserved_fen", "left_fen"]
        return table_by_name(rows, "campaign", ["payer", *names]).astype({"payer": str} | dict.fromkeys(names, "Int64"))

    @repeated
    def funds(self) -> "pd.DataFrame":
        """Return one row for each fund: budget_fen, spent_fen (confirmed), reserved_fen and left_fen."""
        with self._begin() as connection:
            rows = fund_rows(connection)
        return table_by_name(rows, "fund", ["budget_fen", "spent_fen", "reserved_fen", "left_fen"]).astype("Int64")

    def funds_by_day(self) -> "pd.DataFrame":
        """Return the spending of funds: fund, day, spent_fen. The day is "" if the fund has no limit by day."""
        return self._frame(sa.select(FUND_SPENDING).order_by(FUND_SPENDING.c.fund, FUND_SPENDING.c.day))

    def spending_by_merchant(self) -> "pd.DataFrame":
        """Return the spending of campaigns with a cap by merchant: campaign, period, merchant, spent_fen."""
        return self._frame(
            sa.select(SPENDING)
            .where(SPENDING.c.period != WHOLE)
            .order_by(SPENDING.c.campaign, SPENDING.c.period, SPENDING.c.merchant)
        )

    def batches(self) -> "pd.DataFrame":
        """Return the batches in the order of recording: number, state (reserved or spent), orders."""
        asked = sa.select(BATCHES.c.batch, BATCHES.c.number, BATCHES.c.state, BATCHES.c.orders)
        return self._frame(asked.order_by(BATCHES.c.number)).set_index("batch")

    def remainders(self) -> "pd.DataFrame":
        """Return the rounding remainders of merchants: merchant, micro (micro-yuan that were charged too little)."""
        return self._frame(sa.select(REMAINDERS).order_by(REMAINDERS.c.merchant))

    @repeated
    def _frame(self, asked: Any) -> "pd.DataFrame":
        with self._begin() as connection:
            return table_of(asked, connection.execute(asked).all())

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        """Begin a transaction that reads."""
        with self._database.transaction() as connection:
            yield connection

    @contextmanager
    def _locked(self) -> Iterator[sa.Connection]:
        """Begin a transaction that is the only writer."""
        with self._database.transaction(alone=True) as connection:
            # On PostgreSQL the lock on this one row makes writers wait; SQLite has taken its write lock already.
            connection.execute(sa.select(HEAD.c.version).with_for_update())
            yield connection
