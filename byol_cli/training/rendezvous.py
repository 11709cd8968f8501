"""How the processes of a job find each other anew after each of torchrun's restarts."""

import json
import time
from uuid import uuid4

from torch.distributed import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

_PATIENCE = 1.0  # seconds for all to agree, before the first process asks again
_PAUSE = 0.02


def fresh_store(*, rank: int, world_size: int) -> Store:
    """A store that all processes of this start of the job share, and none of an earlier start has written to.

    torchrun keeps one store over its restarts; addresses of processes that are gone would still be in it.
    """
    store, _, _ = next(iter(rendezvous("env://", rank, world_size)))
    return PrefixStore(_agreed_name(store, rank=rank, world_size=world_size), store)


def _agreed_name(store: Store, *, rank: int, world_size: int) -> str:
    """The first process offers a name to those it has heard of; it counts when all of them are there to accept it.

    Each greets by a number of its own. An offer that answers to a greeting of an earlier start is accepted by nobody.
    """
    if rank == 0:
        while True:
            greetings = [store.get(f"greeting {other}").decode() for other in range(1, world_size)]
            name = uuid4().hex
            store.set("offer", json.dumps([name, *greetings]))
            until = time.monotonic() + _PATIENCE
            while time.monotonic() < until:
                if store.add(f"accepted {name}", 0) == world_size - 1:
                    store.set(f"agreed {name}", "")
                    return name
                time.sleep(_PAUSE)
    own, accepted = uuid4().hex, ""
    store.set(f"greeting {rank}", own)
    while True:
        name, *greetings = json.loads(store.get("offer"))
        if greetings[rank - 1 : rank] == [own]:
            if name != accepted:
                store.add(f"accepted {name}", 1)
                accepted = name
            if store.check([f"agreed {name}"]):
                return str(name)
        time.sleep(_PAUSE)
