package agent

import "runtime/metrics"

// memoryGauges says what the Go side takes of the machine, in bytes: heap-bytes is what lives on the heap and what was not collected yet,
// heap-held-bytes all that Go has and has not given back. Maps and programs in the kernel are not part of it.
func memoryGauges(gauges map[string]uint64) {
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	gauges["heap-bytes"] = samples[0].Value.Uint64()
	gauges["heap-held-bytes"] = samples[1].Value.Uint64() - samples[2].Value.Uint64()
}
