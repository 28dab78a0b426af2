"""Compare networks by repeated runs: models × data sets × repeats, in one file, one table.

`Plan` says what is run, `Bench` runs its cells and can be killed anywhere, `read_results` and `write_tables` read its
folder. `published_split` and `honest_split` give the splits of the two protocols.
"""

from typing import TYPE_CHECKING

from qcs.imports import lazy

if TYPE_CHECKING:
    from qcs.crossval.bench import Bench as Bench
    from qcs.crossval.honest import honest_split as honest_split
    from qcs.crossval.plan import Cell as Cell
    from qcs.crossval.plan import DataSource as DataSource
    from qcs.crossval.plan import Network as Network
    from qcs.crossval.plan import Plan as Plan
    from qcs.crossval.pool import Pool as Pool
    from qcs.crossval.pool import groups_of as groups_of
    from qcs.crossval.pool import read_pool as read_pool
    from qcs.crossval.published import PUBLISHED_SIZES as PUBLISHED_SIZES
    from qcs.crossval.published import Split as Split
    from qcs.crossval.published import published_split as published_split
    from qcs.crossval.results import Result as Result
    from qcs.crossval.results import Results as Results
    from qcs.crossval.results import read_results as read_results
    from qcs.crossval.statistics import PairedTest as PairedTest
    from qcs.crossval.statistics import corrected_t_test as corrected_t_test
    from qcs.crossval.statistics import holm as holm
    from qcs.crossval.tables import write_tables as write_tables
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "Bench": "bench",
            "honest_split": "honest",
            "Cell": "plan",
            "DataSource": "plan",
            "Network": "plan",
            "Plan": "plan",
            "Pool": "pool",
            "groups_of": "pool",
            "read_pool": "pool",
            "PUBLISHED_SIZES": "published",
            "Split": "published",
            "published_split": "published",
            "Result": "results",
            "Results": "results",
            "read_results": "results",
            "PairedTest": "statistics",
            "corrected_t_test": "statistics",
            "holm": "statistics",
            "write_tables": "tables",
        },
        extra="crossval",
    )
