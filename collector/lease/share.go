package lease

import "hash/fnv"

// share says for each partition which member should have it: by rendezvous hashing, so that few partitions move when a member comes or goes,
// with bounds, so that no two members' shares differ by more than one. Members are in the same order everywhere; there is at least one.
func share(members []string, partitions int) []string {
	floor, larger := partitions/len(members), partitions%len(members)
	count := make(map[string]int, len(members))
	out := make([]string, partitions)
	for p := range out {
		var best uint64
		for _, m := range members {
			if count[m] > floor || count[m] == floor && larger == 0 {
				continue
			}
			if s := score(m, p); out[p] == "" || s > best {
				out[p], best = m, s
			}
		}
		if count[out[p]] == floor {
			larger--
		}
		count[out[p]]++
	}
	return out
}

// score is how much a partition would like a member. FNV alone hardly mixes what comes last.
func score(member string, partition int) uint64 {
	h := fnv.New64a()
	h.Write([]byte(member))
	x := h.Sum64() ^ (uint64(partition)+1)*0x9e3779b97f4a7c15
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
