"""Profiles and tags as the attributes that become columns."""

from __future__ import annotations

from collections.abc import Sequence

from harvest.config.profile import resolve_wanted
from harvest.dicom.tags import Attribute


def resolve_attributes(profiles: Sequence[str], tags: Sequence[str]) -> tuple[Attribute, ...]:
    return resolve_wanted(profiles, tags).attributes
