"""Least cost over site links, against networkx."""

from __future__ import annotations

import networkx
from hypothesis import given, settings
from hypothesis import strategies as st

from hubtransport.routing.paths import least_cost_paths

SITES = tuple("ABCDEFG")
LINKS = st.dictionaries(
    st.tuples(st.sampled_from(SITES), st.sampled_from(SITES)).filter(lambda pair: pair[0] < pair[1]),
    st.integers(1, 4),
    max_size=14,
)


@settings(max_examples=150, deadline=None)
@given(LINKS)
def test_cost_is_least_and_ties_are_fixed(links: dict[tuple[str, str], int]) -> None:
    graph = networkx.Graph()
    graph.add_nodes_from(SITES)
    graph.add_weighted_edges_from((a, b, cost) for (a, b), cost in links.items())
    neighbours = {
        site: tuple((other, graph[site][other]["weight"]) for other in graph[site]) for site in SITES
    }
    paths = least_cost_paths(neighbours, "A")
    costs = networkx.single_source_dijkstra_path_length(graph, "A")
    assert {site: path.cost for site, path in paths.items()} == dict(costs)
    for site, path in paths.items():
        rivals = networkx.all_shortest_paths(graph, "A", site, weight="weight")
        assert path.sites == min((len(rival), tuple(rival)) for rival in rivals)[1]
    backwards = {site: tuple(reversed(found)) for site, found in neighbours.items()}
    assert least_cost_paths(backwards, "A") == paths
