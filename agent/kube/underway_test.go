package kube

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestUnderway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnderway()
		var ended atomic.Int32
		for i := range 3 {
			if !u.begin() {
				t.Fatal("a call may not begin")
			}
			go func() {
				time.Sleep(time.Duration(i) * time.Second)
				ended.Add(1)
				u.end()
			}()
		}
		u.finish()
		if n := ended.Load(); n != 3 {
			t.Errorf("finish returned after %d of 3 calls", n)
		}
		if u.begin() {
			t.Error("a call begins after the end")
		}
	})
}
