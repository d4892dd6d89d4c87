package detector

import "math"

// volume is what an edge sends in each period in which it is used at all, as the mean and variance of the logarithm: amounts differ by factors, and their
// variance is a multiple of their mean (4 to 8 in traces of real services), so a Poisson model would alert all the time.
type volume struct {
	sum            float64 // bytes of the period so far
	peak           float32 // the largest period before, as its logarithm
	mean, variance float32 // of the logarithm of 1+bytes, the later periods weigh more
	period         int32   // number of the current one since 1970
	periods        uint16  // complete ones, up to 65535
	told           bool    // in this period
}

// volumeMemory is the number of periods that the mean and variance remember.
const volumeMemory = 60

// note adds bytes to a period, and takes in the one before when it is over.
func (v *volume) note(period int64, bytes uint64) {
	p := int32(period)
	if p > v.period {
		if v.period != 0 {
			v.close()
		}
		v.period, v.sum, v.told = p, 0, false
	}
	v.sum += float64(bytes)
}

func (v *volume) close() {
	x := float32(math.Log1p(v.sum))
	if v.told { // what was told does not become normal
		return
	}
	v.peak = max(v.peak, x)
	if v.periods < math.MaxUint16 {
		v.periods++
	}
	a := 1 / float32(min(v.periods, volumeMemory))
	diff := x - v.mean
	v.mean += a * diff
	v.variance = (1 - a) * (v.variance + a*diff*diff)
}

// excess is how many standard deviations of its logarithm the current period is above the mean. A deviation is never taken for less than a factor of 1.65.
func (v *volume) excess() float64 {
	return (math.Log1p(v.sum) - float64(v.mean)) / max(math.Sqrt(float64(v.variance)), 0.5)
}

// usual is the middle of what it sends in a period, bytes.
func (v *volume) usual() float64 { return math.Expm1(float64(v.mean)) }

// volumes are those of an edge. Most edges send little, and have none.
type volumes struct{ hourly, daily volume }

// volumesFrom is how many bytes an edge must have sent before its amounts are kept.
const volumesFrom = 1 << 20

// send notes bytes that were sent in an hour since 1970.
func (e *edge) send(hour int64, bytes uint64, where place) {
	if e.volumes == nil {
		from := uint64(volumesFrom)
		if where == placeNames {
			from /= 64
		}
		if sum := uint64(e.sent) + bytes; sum < from {
			e.sent = uint32(sum)
			return
		}
		// What came before was little, whatever its periods were.
		e.volumes = &volumes{littleBefore(e.sent, e.hours), littleBefore(e.sent, e.days)}
	}
	e.volumes.hourly.note(hour, bytes)
	e.volumes.daily.note(hour/24, bytes)
}

// littleBefore is the volume of the periods before the current one, which together sent so many bytes.
func littleBefore(bytes uint32, periods uint8) volume {
	if periods <= 1 {
		return volume{}
	}
	sum, n := float64(bytes), periods-1
	return volume{peak: float32(math.Log1p(sum)), mean: float32(math.Log1p(sum / float64(n))), periods: uint16(n)}
}
