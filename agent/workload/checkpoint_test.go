package workload

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ambit-nhi/ambit/event"
)

func TestCheckpointOutlivesTheAgent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pods.json")
	synctest.Test(t, func(t *testing.T) {
		first := testKubernetes(t, KubernetesConfig{Checkpoint: file})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- first.Run(ctx) }()
		first.PutPod(testPod(uidA, "a", PodContainer{Name: "server", ID: idA, Image: "shop@sha256:12"}))
		synctest.Wait()
		if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		first.PutPod(testPod(uidB, "b")) // within the pause
		first.PutPod(testPod("c", "c"))
		first.DeletePod("c")
		synctest.Wait()
		if data, _ := os.ReadFile(file); bytes.Contains(data, []byte(uidB)) {
			t.Error("is written for each change")
		}
		time.Sleep(checkpointEvery)
		synctest.Wait()
		if data, _ := os.ReadFile(file); !bytes.Contains(data, []byte(uidB)) {
			t.Error("is not written after the pause")
		}
		first.PutPod(testPod("d", "d"))
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	again := testKubernetes(t, KubernetesConfig{Checkpoint: file})
	if len(again.pods) != 3 || again.Generation() == 0 {
		t.Errorf("%d pods", len(again.pods))
	}
	if w, _ := again.Workload(Cgroup{Path: pathA}, Process{}); w.Container != "server" || w.Image != "shop@sha256:12" || w.ServiceAccount != "a" {
		t.Errorf("%+v", w)
	}
	if left, _ := filepath.Glob(file + "*"); len(left) != 1 {
		t.Errorf("files are left: %v", left)
	}
	again.ReplacePods([]Pod{testPod(uidB, "b")}) // the first sync
	for uid, known := range again.pods {
		if known.gone.IsZero() != (uid == uidB) {
			t.Errorf("%s: gone at %v", uid, known.gone)
		}
	}
}

func TestUnusableCheckpoint(t *testing.T) {
	var log bytes.Buffer
	was := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	t.Cleanup(func() { slog.SetDefault(was) })
	f := func(content, why string) {
		t.Helper()
		log.Reset()
		file := filepath.Join(t.TempDir(), "pods.json")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		k := testKubernetes(t, KubernetesConfig{Checkpoint: file})
		if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, why) || !strings.Contains(text, file) {
			t.Errorf("log: %s\nwant one line with %q", text, why)
		}
		if len(k.pods) != 0 || k.Gauges()["pod-checkpoint-unusable"] != 1 {
			t.Errorf("%d pods, %v", len(k.pods), k.Gauges())
		}
	}
	f("", "unexpected end")
	f(`{"version":1,"node":"n1","pods":[{"uid":"`+uidA+`","names`, "unexpected end")
	f(`{"version":2,"node":"n1"}`, "version is 2")
	f(`{"version":1,"node":"n2"}`, `of node \"n2\"`)
	f(`{"version":1,"node":"n1","pods":[{"uid":"../x","namespace":"a","name":"b"}]}`, "no valid uid")
	f(`{"version":1,"node":"n1","pods":[{"uid":"x","name":"b"}]}`, "no namespace")
	f(strings.Repeat(" ", maxCheckpoint+1), "longer than")
}

func TestCheckpointThatCannotBeWritten(t *testing.T) {
	var log bytes.Buffer
	was := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	t.Cleanup(func() { slog.SetDefault(was) })
	file := filepath.Join(t.TempDir(), "gone", "pods.json")
	synctest.Test(t, func(t *testing.T) {
		k := testKubernetes(t, KubernetesConfig{Checkpoint: file})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- k.Run(ctx) }()
		for _, uid := range []string{"a", "b", "c"} {
			k.PutPod(testPod(uid, uid))
			time.Sleep(2 * checkpointEvery)
		}
		stop()
		<-done
		if n := k.Gauges()["pod-checkpoint-failed"]; n != 3 {
			t.Errorf("failed %d times, want 3", n)
		}
	})
	if strings.Count(log.String(), "\n") != 1 {
		t.Errorf("log: %s", log.String())
	}
}

func FuzzReadCheckpoint(f *testing.F) {
	f.Add([]byte(`{"version":1,"node":"n1","pods":[{"uid":"` + uidA + `","namespace":"shop","name":"a","service_account":"a","containers":[{"name":"c","id":"1"}]}]}`))
	f.Add([]byte(`{"version":1,"node":"n1","pods":null}`))
	f.Add([]byte(`[`))
	td, _ := event.ParseTrustDomain("shop.example")
	f.Fuzz(func(t *testing.T, data []byte) {
		pods, err := readCheckpoint(bytes.NewReader(data), "n1")
		if err != nil && pods != nil {
			t.Error("an error, and pods")
		}
		k := NewKubernetes(KubernetesConfig{TrustDomain: td, Node: "n1"})
		k.ReplacePods(pods)
		for _, p := range pods {
			if w, ok := k.Workload(Cgroup{Path: "/kubepods/pod" + p.UID}, Process{}); !ok || w.Identity.IsZero() {
				t.Errorf("%+v: %+v", p, w)
			}
		}
	})
}
