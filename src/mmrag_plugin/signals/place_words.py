"""The names of the place where a media was taken: city, region, country, found without network.

The places are those of GeoNames with 1,000 people and more (CC BY 4.0), as the package
``reverse_geocode`` brings them. It names the nearest one whatever the distance, and a suburb rather
than its city; so distances are checked here, and the largest city close by is named too.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType

from mmrag_plugin.places import PlaceName

CITY_KM = 15.0  # farther away than this a photo was not taken in a place
REGION_KM = 50.0  # nor in its region and country, on the sea or in a desert
# A photo in a suburb was taken in the city as well: of so many people, so far from its middle.
_CITIES = ((1_000_000, 15.0), (100_000, 8.0))
_EARTH_KM = 6371.0


@dataclass(frozen=True)
class _Place:
    city: str
    region: str
    country: str
    distance_km: float


def place_words(latitude: float | None, longitude: float | None) -> str:
    """Say where a position lies, ``Alfama, Lisbon, Portugal``; nothing far from any place.

    Loads the places when it is first asked: a third of a second for each of three sizes, and about
    150 MB for as long as the process lives.
    """
    if latitude is None or longitude is None:
        return ""
    nearest = _nearest(latitude, longitude, 0)
    if nearest.distance_km > REGION_KM:
        return ""
    names = list(_cities(latitude, longitude, nearest))
    names += [nearest.region, nearest.country]
    return ", ".join(dict.fromkeys(name for name in names if name))


def place_name(latitude: float, longitude: float) -> PlaceName:
    """Say in which city, region and country a position lies, each empty where it lies in none.

    In a suburb the city is the large one around it. It costs what ``place_words`` costs.
    """
    nearest = _nearest(latitude, longitude, 0)
    if nearest.distance_km > REGION_KM:
        return PlaceName("", "", "")
    cities = list(_cities(latitude, longitude, nearest))
    return PlaceName(cities[-1] if cities else "", nearest.region, nearest.country)


def _cities(latitude: float, longitude: float, nearest: _Place) -> Iterator[str]:
    if nearest.distance_km <= CITY_KM:
        yield nearest.city
    for population, reach_km in _CITIES:
        city = _nearest(latitude, longitude, population)
        if city.distance_km <= reach_km and city.country == nearest.country:
            yield city.city
            return


def _nearest(latitude: float, longitude: float, population: int) -> _Place:
    found = _geocoder().get((latitude, longitude), population)
    distance_km = _distance_km(latitude, longitude, found["latitude"], found["longitude"])
    return _Place(found["city"], found.get("state", ""), found.get("country", ""), distance_km)


@lru_cache(maxsize=1)
def _geocoder() -> ModuleType:
    limit = csv.field_size_limit()
    import reverse_geocode

    csv.field_size_limit(limit)  # which the package lifts for everybody
    for population, _ in _CITIES:  # before all places, so that what this leaves free is used
        reverse_geocode.get((0.0, 0.0), population)
    return reverse_geocode  # type: ignore[no-any-return]


def _distance_km(latitude: float, longitude: float, other_lat: float, other_lon: float) -> float:
    """The great-circle distance (haversine formula)."""
    first, second = math.radians(latitude), math.radians(other_lat)
    sine = math.sin((second - first) / 2) ** 2
    turn = math.radians(other_lon - longitude)
    sine += math.cos(first) * math.cos(second) * math.sin(turn / 2) ** 2
    return 2 * _EARTH_KM * math.asin(min(math.sqrt(sine), 1.0))
