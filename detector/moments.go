package detector

import "time"

// Times are µs since 1970, UTC.
const (
	minuteMicros = int64(time.Minute / time.Microsecond)
	hourMicros   = int64(time.Hour / time.Microsecond)
	dayMicros    = 24 * hourMicros
)

func dayOf(at int64) int64 { return at / dayMicros }

func span64(from, until int64) time.Duration { return time.Duration(until-from) * time.Microsecond }
