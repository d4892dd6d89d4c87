// Package lru holds a bounded map that forgets what was not used for longest.
package lru

import "iter"

// Cache is a map of at most a given number of entries. It is not safe for concurrent use. Get and Put of a known key do not allocate.
type Cache[K comparable, V any] struct {
	max     int
	entries map[K]*entry[K, V]
	root    entry[K, V] // root.next is the newest, root.prev the oldest
}

type entry[K comparable, V any] struct {
	key        K
	value      V
	prev, next *entry[K, V]
}

// New makes a cache for at most max entries, at least one.
func New[K comparable, V any](max int) *Cache[K, V] {
	if max < 1 {
		max = 1
	}
	c := &Cache[K, V]{max: max, entries: map[K]*entry[K, V]{}}
	c.root.prev, c.root.next = &c.root, &c.root
	return c
}

// Len is the number of entries.
func (c *Cache[K, V]) Len() int { return len(c.entries) }

// Get gives the value of a key, to be read or changed in place until the next Put, and makes it the newest. It is nil for unknown keys.
func (c *Cache[K, V]) Get(key K) *V {
	e := c.entries[key]
	if e == nil {
		return nil
	}
	c.unlink(e)
	c.pushFront(e)
	return &e.value
}

// Put sets the value of a key and makes it the newest. It says whether the oldest entry had to go for it.
func (c *Cache[K, V]) Put(key K, value V) (evicted bool) {
	if e := c.entries[key]; e != nil {
		e.value = value
		c.unlink(e)
		c.pushFront(e)
		return false
	}
	if len(c.entries) >= c.max {
		c.RemoveOldest()
		evicted = true
	}
	e := &entry[K, V]{key: key, value: value}
	c.entries[key] = e
	c.pushFront(e)
	return evicted
}

// Oldest gives the key and value that were not used for longest, without making them newer. The value is nil if the cache is empty.
func (c *Cache[K, V]) Oldest() (key K, value *V) {
	if e := c.root.prev; e != &c.root {
		return e.key, &e.value
	}
	return key, nil
}

// All gives all keys and values, newest first, without making them newer. The values may be changed in place; the cache must not change meanwhile.
func (c *Cache[K, V]) All() iter.Seq2[K, *V] {
	return func(yield func(K, *V) bool) {
		for e := c.root.next; e != &c.root; e = e.next {
			if !yield(e.key, &e.value) {
				return
			}
		}
	}
}

// RemoveOldest removes what was not used for longest, if there is anything.
func (c *Cache[K, V]) RemoveOldest() {
	if e := c.root.prev; e != &c.root {
		c.unlink(e)
		delete(c.entries, e.key)
	}
}

// Remove removes a key, if it is there.
func (c *Cache[K, V]) Remove(key K) {
	if e := c.entries[key]; e != nil {
		c.unlink(e)
		delete(c.entries, key)
	}
}

func (c *Cache[K, V]) unlink(e *entry[K, V]) {
	e.prev.next, e.next.prev = e.next, e.prev
}

func (c *Cache[K, V]) pushFront(e *entry[K, V]) {
	e.prev, e.next = &c.root, c.root.next
	e.prev.next, e.next.prev = e, e
}
