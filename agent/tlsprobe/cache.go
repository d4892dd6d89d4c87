package tlsprobe

// cache remembers what was used of late, at most size entries.
type cache[K comparable, V any] struct {
	size       int
	young, old map[K]V
}

func newCache[K comparable, V any](size int) cache[K, V] {
	return cache[K, V]{size: size, young: map[K]V{}}
}

func (c *cache[K, V]) get(key K) (V, bool) {
	v, ok := c.young[key]
	if ok {
		return v, true
	}
	if v, ok = c.old[key]; ok {
		c.put(key, v)
	}
	return v, ok
}

func (c *cache[K, V]) put(key K, v V) {
	if _, ok := c.young[key]; !ok && len(c.young) >= c.size/2 { // half of it is forgotten, what was not used for longest
		c.old, c.young = c.young, make(map[K]V)
	}
	c.young[key] = v
}
