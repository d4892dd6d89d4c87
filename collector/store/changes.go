package store

// Changes counts what was declared or decided through this Store: inventories, exemptions, reviews, scopes and verdicts that were written, as far as that
// came. Who keeps what was read of identities compares it with what it was when the reading began, and reads anew when it differs. What agents and
// detectors tell does not count, nor what goes through another Store.
func (s *Store) Changes() uint64 { return s.changes.Load() }

// changed counts a change that may have happened, when its writing has ended.
func (s *Store) changed() { s.changes.Add(1) }
