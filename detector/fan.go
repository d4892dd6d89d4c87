package detector

// fan counts what an identity tries that is new to it, in windows of ten minutes: a scan, or names that are made up, is many in a short time.
type fan struct {
	window int64 // number of the current one since 1970
	fresh  int   // new edges in it
	told   bool  // as a finding about many
	failed int   // of them, those where everything failed
}

const fanMicros = 10 * minuteMicros

func (f *fan) note(at int64, failed bool) {
	if w := at / fanMicros; w > f.window {
		*f = fan{window: w}
	}
	f.fresh++
	if failed {
		f.failed++
	}
}
