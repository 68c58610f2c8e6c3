"""What a lease call asks of rights, besides that the lease allows it (core/lease.py). Asked under the space's lock.

Acquire, Renew, Release    the role append, of whoever acts
Transfer                   the same, and append of whoever is to hold it
Grant                      admin, and append of whoever is to hold it: an admin's slip, or an operator's, must not
                           give the lease to somebody who could not push with it
Revoke, Restored           admin
GiveUp                     nothing: whoever knows the ticket may leave the line
"""

from __future__ import annotations

from shardd.core.lease import Acquire, GiveUp, Grant, OneShot, Release, Renew, Restored, Revoke, Transfer, Transition
from shardd.core.roles import Rights, Role, not_permitted, require


def check_lease_call(rights: Rights, by: str | None, transition: Transition, repo: str, space: str) -> None:
    """Nothing if the transition may be asked for, else Rejected `not-permitted`. by: who asks, if it has a name"""
    match transition:
        case Acquire(principal=who) | Renew(principal=who) | Release(principal=who) | OneShot(principal=who):
            require(rights, who, Role.APPEND, repo, space)
        case Transfer(principal=who, to=to):
            require(rights, who, Role.APPEND, repo, space)
            _check_holder(rights, to, repo, space)
        case Grant(to=to):
            require(rights, by, Role.ADMIN, repo, space)
            _check_holder(rights, to, repo, space)
        case Revoke() | Restored():
            require(rights, by, Role.ADMIN, repo, space)
        case GiveUp():
            pass


def _check_holder(rights: Rights, name: str, repo: str, space: str) -> None:
    have = rights.given(name, repo, space)
    if have < Role.APPEND:
        raise not_permitted(name, have, Role.APPEND, f"{repo}/{space}")
