package api

import (
	"errors"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/ambit-nhi/ambit/collector/inventory"
	"github.com/ambit-nhi/ambit/collector/store"
	"github.com/ambit-nhi/ambit/event"
)

// Imported says what an import changed.
type Imported struct {
	Source event.DeclarationSource `json:"source"`
	Name   string                  `json:"name"`
	DryRun bool                    `json:"dry_run,omitempty"` // it would change that
	store.InventoryChange
	Refused  int                 `json:"refused"`  // entries that were not taken
	Refusals []inventory.Refusal `json:"refusals"` // why, of the first ones
}

func (s *Server) getInventory(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "source", "name", "domain", "gone", "q", "limit", "cursor")
	if err != nil {
		return err
	}
	source, err := oneOf(values, "source", texts(event.DeclarationSources)...)
	if err != nil {
		return err
	}
	domain, err := oneOf(values, "domain", texts(event.Domains)...)
	if err != nil {
		return err
	}
	gone, err := oneOf(values, "gone", "true", "false")
	if err != nil {
		return err
	}
	n, err := limit(values)
	if err != nil {
		return err
	}
	found, err := s.Reports.Inventory(r.Context(), store.InventoryFilter{
		Query: values.Get("q"), Source: event.DeclarationSource(source), Name: values.Get("name"), Gone: gone == "true", Limit: n, Cursor: values.Get("cursor"),
	}, event.Domain(domain))
	if err != nil {
		return storeError(err)
	}
	page := Page[event.Declaration]{Items: found.Items, NextCursor: found.Next}
	if page.Items == nil {
		page.Items = []event.Declaration{}
	}
	return writeJSON(w, page)
}

// importTime is how long an import may take, from the first byte of the list to the answer.
const importTime = 10 * time.Minute

// postInventory takes a list in place of what the same source and name declared before.
func (s *Server) postInventory(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "source", "name", "dry_run")
	if err != nil {
		return err
	}
	if !values.Has("source") {
		return problem(http.StatusBadRequest, "source is missing: csv, json or spire")
	}
	source, err := oneOf(values, "source", string(event.SourceCSV), string(event.SourceJSON), string(event.SourceSPIRE))
	if err != nil {
		return err
	}
	dry, err := oneOf(values, "dry_run", "true", "false")
	if err != nil {
		return err
	}
	told := store.Inventory{Source: event.DeclarationSource(source), Name: values.Get("name"), Time: s.now().UTC(), DryRun: dry == "true"}
	probe := event.Declaration{Identity: event.KubernetesIdentity(anyDomain, "n", "s"), Source: told.Source, SourceName: told.Name}
	if err := probe.Validate(); err != nil {
		return problem(http.StatusBadRequest, "name of the source: %v", err)
	}
	want := map[event.DeclarationSource]string{event.SourceCSV: "text/csv", event.SourceJSON: "application/json", event.SourceSPIRE: "application/json"}[told.Source]
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != want {
		return problem(http.StatusUnsupportedMediaType, "the content type must be %s", want)
	}
	control := http.NewResponseController(w)
	until := time.Now().Add(importTime)
	_ = errors.Join(control.SetReadDeadline(until), control.SetWriteDeadline(until)) // where there are any: lists may be long
	parsed, err := inventory.Parse(told.Source, told.Name, http.MaxBytesReader(w, r.Body, inventory.MaxBytes))
	if err != nil {
		if large := new(http.MaxBytesError); errors.As(err, &large) {
			return problem(http.StatusRequestEntityTooLarge, "the list is larger than %d MiB: split it, with a name of its own for each part", inventory.MaxBytes>>20)
		}
		return problem(http.StatusBadRequest, "%v", err)
	}
	told.Declarations, told.Refused = parsed.Declarations, parsed.Refused
	var change store.InventoryChange
	replace := func() (err error) {
		change, err = s.Inventory.ReplaceInventory(r.Context(), told)
		return err
	}
	if told.DryRun {
		err = replace()
	} else {
		err = s.audited(r, "inventory.import", string(told.Source)+"/"+told.Name,
			map[string]string{"declarations": strconv.Itoa(len(told.Declarations)), "refused": strconv.Itoa(told.Refused)}, replace)
	}
	if err != nil {
		return storeError(err)
	}
	out := Imported{Source: told.Source, Name: told.Name, DryRun: told.DryRun, InventoryChange: change, Refused: parsed.Refused, Refusals: parsed.Refusals}
	if out.Refusals == nil {
		out.Refusals = []inventory.Refusal{}
	}
	return writeJSON(w, out)
}

var anyDomain = func() event.TrustDomain {
	td, err := event.ParseTrustDomain("example.org")
	if err != nil {
		panic(err) // a constant
	}
	return td
}()

func inventoryStates() []string { return texts(inventory.States) }

func texts[T ~string](words []T) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = string(w)
	}
	return out
}
