package sim

import "math"

// season is how much of its mean an identity does in an hour of the week, hour 0 being Monday's first.
type season uint8

const (
	seasonFlat   season = iota
	seasonUsers         // day and night, weekends less
	seasonOffice        // people's working time, little else
	seasonStrict        // working time alone
	seasonNight         // batch work in the small hours
	seasons
)

// weeks has the factors of each season; their mean is 1.
var weeks = func() (w [seasons][hoursPerWeek]float64) {
	for s := range seasons {
		sum := 0.
		for h := range hoursPerWeek {
			w[s][h] = s.at(h/24 >= 5, float64(h%24))
			sum += w[s][h]
		}
		for h := range hoursPerWeek {
			w[s][h] *= hoursPerWeek / sum
		}
	}
	return w
}()

func (s season) at(weekend bool, hour float64) float64 {
	office := 0.
	if !weekend && hour >= 7 && hour < 19 {
		office = 1 - .5*math.Abs(hour-12.5)/6
	}
	switch s {
	case seasonUsers:
		f := 1 + .7*math.Sin((hour-9)/24*2*math.Pi)
		if weekend {
			f *= .75
		}
		return f
	case seasonOffice:
		return office + .06
	case seasonStrict:
		return office
	case seasonNight:
		if hour >= 1 && hour < 5 {
			return 1
		}
		return .03
	}
	return 1
}
