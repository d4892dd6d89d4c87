package kube

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestSilences(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStatus("https://127.0.0.1:1", "n1")
		begin := time.Now()
		at := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
		want := func(want ...Silence) {
			t.Helper()
			if got := s.tellSilences(time.Now()); !slices.Equal(got, want) {
				t.Errorf("after %s: got %v, want %v", time.Since(begin), got, want)
			}
		}
		pods, away := watched[0].resource, errors.New("connection refused")
		s.asked(pods, "watch", nil)
		want()
		s.asked(pods, "watch", away)
		time.Sleep(time.Second)
		s.asked(pods, "watch", nil) // made anew at once
		want()
		time.Sleep(time.Second)
		s.asked(pods, "watch", away) // 2
		time.Sleep(8 * time.Second)
		want(Silence{From: at(2), Until: at(10)})
		time.Sleep(5 * time.Second)
		want(Silence{From: at(2), Until: at(15)})
		time.Sleep(5 * time.Second)
		s.asked(pods, "watch", nil) // 20
		time.Sleep(5 * time.Second)
		s.asked(pods, "list", apierrors.NewForbidden(schema.GroupResource{Resource: pods}, "", nil)) // an answer
		time.Sleep(5 * time.Second)
		want(Silence{From: at(2), Until: at(20), Over: true})
		want()
		for range maxSilences + 3 {
			s.asked(pods, "watch", away)
			time.Sleep(5 * time.Second)
			s.asked(pods, "watch", nil)
			time.Sleep(5 * time.Second)
		}
		if got := s.tellSilences(time.Now()); len(got) != maxSilences || !got[0].From.Equal(at(30)) || !got[0].Until.Equal(at(65)) {
			t.Errorf("got %v", got)
		}
	})
}
