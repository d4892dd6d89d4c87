package workload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

const (
	checkpointVersion = 1
	checkpointEvery   = 2 * time.Second // at most
	maxCheckpoint     = 16 << 20        // bytes; 4096 pods are a tenth of it
)

// checkpoint is what an agent that starts while the API is away knows of its node's pods. No uid is given twice, so one that is old is not wrong.
type checkpoint struct {
	Version int    `json:"version"`
	Node    string `json:"node"`
	Pods    []Pod  `json:"pods"`
}

// Run keeps the checkpoint up to date until ctx ends, and writes it once more then. Without a checkpoint it only waits. What cannot be written is
// told once, and tried again.
func (k *Kubernetes) Run(ctx context.Context) error {
	if k.cfg.Checkpoint == "" {
		<-ctx.Done()
		return nil
	}
	told := false
	write := func() {
		err := k.save()
		if err != nil && !told {
			slog.Warn("cannot keep this node's pods for the next start", "error", err)
		}
		if err != nil {
			k.count(&k.failed)
		}
		told = err != nil
	}
	for {
		select {
		case <-k.dirty:
			write()
		case <-ctx.Done():
			select {
			case <-k.dirty:
				write()
			default:
			}
			return nil
		}
		select {
		case <-time.After(checkpointEvery):
		case <-ctx.Done():
		}
	}
}

func (k *Kubernetes) count(n *uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	*n++
}

// save writes a new file and puts it in the place of the old one.
func (k *Kubernetes) save() error {
	data, err := json.Marshal(k.snapshot())
	if err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	if err := renameio.WriteFile(k.cfg.Checkpoint, data, 0o600, renameio.WithTempDir(filepath.Dir(k.cfg.Checkpoint))); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	return nil
}

func (k *Kubernetes) snapshot() checkpoint {
	k.mu.RLock()
	defer k.mu.RUnlock()
	c := checkpoint{Version: checkpointVersion, Node: k.cfg.Node, Pods: make([]Pod, 0, len(k.pods))}
	for _, known := range k.pods {
		if known.gone.IsZero() {
			c.Pods = append(c.Pods, known.pod)
		}
	}
	slices.SortFunc(c.Pods, func(a, b Pod) int { return strings.Compare(a.UID, b.UID) })
	return c
}

// restore takes the pods of the checkpoint for true until the API tells better.
func (k *Kubernetes) restore() {
	if k.cfg.Checkpoint == "" {
		return
	}
	f, err := os.Open(k.cfg.Checkpoint)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var pods []Pod
	if err == nil {
		defer f.Close()
		pods, err = readCheckpoint(f, k.cfg.Node)
	}
	if err != nil {
		slog.Warn("the pods that ran before cannot be told until the Kubernetes API does", "file", k.cfg.Checkpoint, "error", err)
		k.count(&k.unusable)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range pods {
		k.put(p)
	}
}

func readCheckpoint(from io.Reader, node string) ([]Pod, error) {
	data, err := io.ReadAll(io.LimitReader(from, maxCheckpoint+1))
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	if len(data) > maxCheckpoint {
		return nil, fmt.Errorf("read checkpoint: it is longer than %d bytes", maxCheckpoint)
	}
	var c checkpoint
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	switch {
	case c.Version != checkpointVersion:
		return nil, fmt.Errorf("read checkpoint: its version is %d, not %d", c.Version, checkpointVersion)
	case c.Node != node:
		return nil, fmt.Errorf("read checkpoint: it is of node %q, not %q", c.Node, node)
	}
	for i := range c.Pods {
		if err := c.Pods[i].validate(); err != nil {
			return nil, fmt.Errorf("read checkpoint: %w", err)
		}
	}
	return c.Pods, nil
}
