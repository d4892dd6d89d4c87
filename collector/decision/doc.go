// Package decision is the control side of deny: it previews and issues decisions, has a second person approve them where two are needed, signs and revokes them, and
// keeps what the nodes did about them.
//
// Signed decisions stand in a key-value bucket, which the agents follow and every collector has in memory. What waits for approval stands in another one, unsigned,
// where no agent looks. The database has a copy of all decisions, and the nodes' acknowledgements; the audit trail has each step. Other places that can refuse
// connections or sessions hear of decisions as [Point]s.
package decision
