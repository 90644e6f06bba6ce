"""The ledger: what campaigns have spent, in a database, once for each batch of orders whatever happens to the process.

A batch is priced from a snapshot of what was spent before, without a lock. It is recorded in one short transaction,
provided that the snapshot still gives the same fen; if not, it is priced again. So batches come to what they would one
after another, in the order of their numbers, and nothing is written before everything is known.
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
from freightrisk.pipeline.batch import PricedBatch, Recorded, Snapshot, Unpriced
from freightrisk.pipeline.database import Database, repeated
from freightrisk.pipeline.entries import check_terms, give_back, record, recorded_of, spent_now
from freightrisk.pipeline.tables import (
    BATCHES,
    CAMPAIGNS,
    CARRIED,
    HEAD,
    LINES,
    LOCK_NUMBER,
    OPENINGS,
    REMAINDERS,
    REVERSED,
    SPENDING,
    TABLES,
    TERMS,
    VERSION,
    WHOLE,
    add_to,
    campaign_row,
    counted,
    engine_of,
)
from freightrisk.tariff.quotes import frame_of
from freightrisk.tariff.tariff import Tariff

if TYPE_CHECKING:
    import pandas as pd

TRIES = 4
IDS_AT_ONCE = 500


class Ledger:
    """Spending of campaigns in a database: an SQLite file, or PostgreSQL.

    Parameters
    ----------
    where : str, Path or sqlalchemy.Engine
        Path of an SQLite file, made where there is none, or a URL such as ``"postgresql+psycopg://host/spending"``. A
        text with ``://`` is a URL; a `Path` is always a path, whatever the characters of its name.
    clock : str, optional
        Time zone whose days the caps by merchant and day go by; tariffs must have the same. A new ledger takes
        Asia/Shanghai by default, and one that exists keeps its own.

    Raises
    ------
    InputError
        For a folder, a URL of an unknown database or driver, or an engine that cannot give the isolation that a ledger
        needs: one for asyncio, or in memory with a database for each connection.
    LedgerError
        If the database cannot be reached, is no ledger, or refuses; so do all calls of a ledger.

    Notes
    -----
    Needs ``pip install freightrisk[ledger]``. Any number of processes and threads may use one ledger at a time. The
    ledger has connections of its own and sets their isolation, whatever that of the engine; it keeps the engine's
    options and listeners. Forked processes get new connections. A ledger of a path or URL can be pickled, with the
    password of the URL. Merchants and order ids are kept as texts.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from freightrisk import Factor, FrequencyModel, Ledger, OrderBook, SeverityModel, Subsidy, Tariff
    >>> from freightrisk import Ledger
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
        # An engine made from a path or URL can be made again in another process.
        self._given = _whole(where)
        is_own = not isinstance(where, sa.Engine)
        self._database = Database(where if isinstance(where, sa.Engine) else engine_of(where), is_own=is_own)
        self._engine = self._database.engine
        try:
            self._database.check_isolation()
            self.clock = self._open(clock)
            self._database.check_sharing(HEAD.c.version)
        except BaseException:
            self.close()  # else the refused database stays open until the engine is collected
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
        """Make the tables where there are none, refuse those of another release or clock, and return the clock."""
        with self._database.transaction(alone=True) as connection:
            if connection.dialect.name == "postgresql":
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
            raise LedgerError(
                f"clock is '{clock}', but the days of this ledger are those of '{known}'; leave clock out."
            )
        return known

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def price(
        self,
        tariff: Tariff,
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
        """Return the quotes of a batch of orders, as `Tariff.price` does, and reserve what its campaigns spend.

        Parameters
        ----------
        tariff : Tariff
        orders, merchants, threads, detail, campaigns, progress, columns
            As for `Tariff.price`, but orders that are not encoded yet.
        batch : str
            Id of the batch. A batch that is recorded already is priced again from what was spent before it then and by
            the limits of then, to the same fen, and spends nothing.

        Raises
        ------
        LedgerError
            Where the id names a batch of other orders or of another tariff, where an order has money of a campaign from
            another batch, or where a campaign has other limits in the ledger than in the tariff.
        """
        _check.label(batch, argument="batch")
        _check.instance(tariff, Tariff, argument="tariff")
        campaigns = _check.flag(campaigns, argument="campaigns")
        threads = _check.threads(threads)
        if tariff.clock != self.clock:
            raise LedgerError(
                f"the tariff's clock is '{tariff.clock}' and the ledger's '{self.clock}', so that days of caps would "
                "differ; build the tariff with the ledger's clock, or keep a ledger for each."
            )
        options: dict[str, Any] = {"threads": threads, "detail": detail, "progress": progress}

        def encoded(tariff: Tariff) -> Unpriced:
            coded = tariff.encode(orders, merchants=merchants, threads=threads, **columns)
            return Unpriced(tariff, coded, options)

        done: PricedBatch | Recorded | None = self._find(batch)
        if done is None:
            unpriced = encoded(tariff)
            if unpriced.coded.sequence is None:
                return frame_of(tariff.price_columns(unpriced.coded, **options, campaigns=campaigns), unpriced.coded)
            done = self._price_new(batch, unpriced)
        if isinstance(done, Recorded):
            unpriced = encoded(done.tariff(tariff))
            done = unpriced.priced_again(done, batch)
        wanted = [name for name in done.columns if campaigns or not name.startswith("paid: ")]
        return frame_of({name: done.columns[name] for name in wanted}, unpriced.coded)

    def _price_new(self, batch: str, unpriced: Unpriced) -> PricedBatch | Recorded:
        """Return a batch priced and recorded, or what another process has recorded of it meanwhile."""
        tries = 0
        while True:
            opening = self._opening(batch, unpriced)
            if isinstance(opening, Recorded):
                return opening
            # Others were faster each time: on the last try they wait.
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
        """Return what has been spent, unless the batch is recorded already; enter campaigns that are new."""
        with self._begin() as connection:
            recorded = recorded_of(connection, batch)
            if recorded is not None:
                return recorded
            missing = check_terms(connection, unpriced.limited)
            now = spent_now(connection, unpriced)
        if missing:
            with self._locked() as connection:
                for rule in check_terms(connection, unpriced.limited):
                    connection.execute(CAMPAIGNS.insert().values(**campaign_row(rule)))
        return now

    @repeated
    def _enter(self, batch: str, unpriced: Unpriced, done: PricedBatch | None) -> PricedBatch | Recorded | None:
        """Record a batch, pricing it if it is not priced; None if it is priced from what is spent no more."""
        with self._locked() as connection:
            recorded = recorded_of(connection, batch)
            if recorded is not None:
                return recorded
            check_terms(connection, unpriced.limited)
            now = spent_now(connection, unpriced)
            if done is None:
                done = unpriced.priced(now)
            elif not done.holds(now, unpriced.limited):
                return None
            record(connection, batch, done, now, unpriced)
        return done

    @repeated
    def confirm(self, batch: str) -> None:
        """Turn what a batch has reserved into spending, once its quotes are where they belong; twice is once."""
        with self._locked() as connection:
            changed = connection.execute(BATCHES.update().where(BATCHES.c.batch == batch).values(state="spent"))
            if not changed.rowcount:
                raise LedgerError(f"there is no batch '{batch}' in the ledger.")

    @repeated
    def release(self, batch: str) -> None:
        """Give back what a batch has reserved, as if it had never been priced; its id is free again.

        Batches priced since then keep their fen.
        """
        with self._locked() as connection:
            state = connection.execute(sa.select(BATCHES.c.state).where(BATCHES.c.batch == batch)).scalar()
            if state != "reserved":
                why = "is not in the ledger" if state is None else "is confirmed; reverse its orders instead"
                raise LedgerError(f"batch '{batch}' {why}.")
            give_back(connection, sa.select(LINES).where(LINES.c.batch == batch))
            carried = connection.execute(sa.select(CARRIED).where(CARRIED.c.batch == batch)).all()
            add_to(
                connection, REMAINDERS, REMAINDERS.c.micro,
                {(row.merchant,): row.opening_micro - row.closing_micro for row in carried},
            )  # fmt: skip
            for table in (LINES, OPENINGS, CARRIED, TERMS, REVERSED, BATCHES):
                connection.execute(table.delete().where(table.c.batch == batch))

    def reverse(self, order_ids: Iterable[Any]) -> "pd.DataFrame":
        """Give back what campaigns paid for orders that were cancelled before shipment.

        Parameters
        ----------
        order_ids : iterable

        Returns
        -------
        pandas.DataFrame
            A row for each order and campaign that was reversed: order_id (text), campaign, batch, merchant, period,
            fen. Orders without money of a limited campaign, or reversed before, have none.
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
                some = LINES.c.order_id.in_(ids[start : start + IDS_AT_ONCE])
                rows = give_back(connection, sa.select(LINES).where(some))
                if rows:
                    copied = [
                        {"batch": row.batch, "order_id": row.order_id, "campaign": row.campaign, "fen": row.fen}
                        for row in rows
                    ]
                    connection.execute(REVERSED.insert(), copied)
                    connection.execute(LINES.delete().where(some))
                found += rows
        return found

    @repeated
    def amend(self, tariff: Tariff) -> None:
        """Give campaigns the limits that they have in a tariff; what was spent stays spent."""
        _check.instance(tariff, Tariff, argument="tariff")
        limited = [rule for rule in tariff.subsidies if rule.is_limited]
        with self._locked() as connection:
            for rule in limited:
                connection.execute(CAMPAIGNS.delete().where(CAMPAIGNS.c.campaign == rule.name))
                connection.execute(CAMPAIGNS.insert().values(**campaign_row(rule)))

    @repeated
    def spending(self) -> "pd.DataFrame":
        """Return a row for each campaign: payer, budget_fen, spent_fen (confirmed), reserved_fen and left_fen."""
        import pandas as pd

        reserved = (
            sa.select(LINES.c.campaign, sa.func.sum(LINES.c.fen).label("fen"))
            .join(BATCHES, BATCHES.c.batch == LINES.c.batch)
            .where(BATCHES.c.state == "reserved")
            .group_by(LINES.c.campaign)
        )
        whole = sa.select(SPENDING).where(SPENDING.c.period == WHOLE)
        with self._begin() as connection:
            campaigns = connection.execute(sa.select(CAMPAIGNS).order_by(CAMPAIGNS.c.campaign)).all()
            spent = {row.campaign: counted(row.spent_fen) for row in connection.execute(whole)}
            held = {row.campaign: counted(int(row.fen)) for row in connection.execute(reserved)}
        rows = {}
        for row in campaigns:
            total, part = spent.get(row.campaign, 0), held.get(row.campaign, 0)
            left = None if row.budget_fen is None else row.budget_fen - total
            rows[row.campaign] = [row.payer, row.budget_fen, total - part, part, left]
        names = ["payer", "budget_fen", "spent_fen", "reserved_fen", "left_fen"]
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=names).rename_axis("campaign")
        return frame.astype(dict.fromkeys(names[1:], "Int64"))

    def spending_by_merchant(self) -> "pd.DataFrame":
        """Return what campaigns with a cap by merchant have spent: campaign, period, merchant, spent_fen."""
        return self._frame(
            sa.select(SPENDING)
            .where(SPENDING.c.period != WHOLE)
            .order_by(SPENDING.c.campaign, SPENDING.c.period, SPENDING.c.merchant)
        )

    def batches(self) -> "pd.DataFrame":
        """Return the batches in the order in which they came: number, state (reserved or spent), orders."""
        asked = sa.select(BATCHES.c.batch, BATCHES.c.number, BATCHES.c.state, BATCHES.c.orders)
        return self._frame(asked.order_by(BATCHES.c.number)).set_index("batch")

    def remainders(self) -> "pd.DataFrame":
        """Return what rounding owes merchants: merchant, micro (micro-yuan charged too little so far)."""
        return self._frame(sa.select(REMAINDERS).order_by(REMAINDERS.c.merchant))

    @repeated
    def _frame(self, asked: Any) -> "pd.DataFrame":
        import pandas as pd

        with self._begin() as connection:
            found = connection.execute(asked)
            return pd.DataFrame(found.all(), columns=list(found.keys()))

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        """Begin a transaction that reads."""
        with self._database.transaction() as connection:
            yield connection

    @contextmanager
    def _locked(self) -> Iterator[sa.Connection]:
        """Begin a transaction that no other writer shares; an SQLite transaction is alone as it begins."""
        with self._database.transaction(alone=True) as connection:
            connection.execute(sa.select(HEAD.c.version).with_for_update())
            yield connection


def _whole(where: "str | Path | sa.Engine") -> "str | Path | sa.Engine":
    """Return a path with its folders, so that a process with another working folder finds the same file."""
    if isinstance(where, Path) or (isinstance(where, str) and "://" not in where and where != ":memory:"):
        return Path(where).absolute()
    return where
