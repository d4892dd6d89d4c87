package lru

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The cache behaves like a slice that is searched from its newest end.
func TestCacheAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		max := rapid.IntRange(1, 5).Draw(t, "max")
		cache := New[int, int](max)
		type pair struct{ key, value int }
		var model []pair // oldest first
		find := func(key int) int { return slices.IndexFunc(model, func(p pair) bool { return p.key == key }) }
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				p := pair{rapid.IntRange(0, 7).Draw(t, "key"), rapid.Int().Draw(t, "value")}
				want := false
				if i := find(p.key); i >= 0 {
					model = slices.Delete(model, i, i+1)
				} else if len(model) == max {
					model, want = model[1:], true
				}
				model = append(model, p)
				if got := cache.Put(p.key, p.value); got != want {
					t.Fatalf("put %d: evicted %v, want %v", p.key, got, want)
				}
			},
			"get": func(t *rapid.T) {
				key := rapid.IntRange(0, 7).Draw(t, "key")
				got := cache.Get(key)
				i := find(key)
				if (got == nil) != (i < 0) {
					t.Fatalf("get %d: %v, want index %d", key, got, i)
				}
				if i >= 0 {
					p := model[i]
					if *got != p.value {
						t.Fatalf("get %d: %d, want %d", key, *got, p.value)
					}
					model = append(slices.Delete(model, i, i+1), p)
				}
			},
			"remove": func(t *rapid.T) {
				key := rapid.IntRange(0, 7).Draw(t, "key")
				cache.Remove(key)
				if i := find(key); i >= 0 {
					model = slices.Delete(model, i, i+1)
				}
			},
			"remove oldest": func(t *rapid.T) {
				cache.RemoveOldest()
				if len(model) > 0 {
					model = model[1:]
				}
			},
			"": func(t *rapid.T) {
				if cache.Len() != len(model) {
					t.Fatalf("length %d, want %d", cache.Len(), len(model))
				}
				var all []pair
				for key, value := range cache.All() {
					all = append(all, pair{key, *value})
				}
				slices.Reverse(all)
				if !slices.Equal(all, model) {
					t.Fatalf("all are %v, want %v", all, model)
				}
				key, value := cache.Oldest()
				if (value == nil) != (len(model) == 0) || value != nil && (key != model[0].key || *value != model[0].value) {
					t.Fatalf("oldest %d %v, want first of %v", key, value, model)
				}
			},
		})
	})
}

func TestKnownKeysDoNotAllocate(t *testing.T) {
	cache := New[string, int](4)
	cache.Put("a", 1)
	if n := testing.AllocsPerRun(100, func() { cache.Get("a"); cache.Put("a", 2) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
