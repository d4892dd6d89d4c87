package sim

import "time"

// timetable is how often a job runs.
type timetable uint8

const (
	hourly timetable = iota
	sixHourly
	daily
	weekly
	monthly
)

func drawTimetable(d *dice) timetable {
	return pick(d, []timetable{hourly, sixHourly, daily, daily, daily, weekly, weekly, monthly, monthly})
}

// at says when in an hour a job runs, if it does. Months are of 30 days.
func (t timetable) at(hash uint64) func(hour int) (time.Duration, bool) {
	every := map[timetable]int{hourly: 1, sixHourly: 6, daily: 24, weekly: hoursPerWeek, monthly: 720}[t]
	shift := int(hash % uint64(every))
	minute := time.Duration(hash>>16%50) * time.Minute
	return func(hour int) (time.Duration, bool) {
		if hour%every != shift {
			return 0, false
		}
		return time.Duration(hour)*time.Hour + minute, true
	}
}
