//! Links, addresses, routes, neighbours and rules over rtnetlink.
