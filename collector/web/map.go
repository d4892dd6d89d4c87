package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/ambit-nhi/ambit/collector/report"
)

type mapView struct {
	Center, Namespace string
	Window            string
	Windows           []choiceOf
	Depth             int
	Depths            []int
	Namespaces        []report.FacetValue
	Source            string // for the picture
	Table             *mapTable
	AsTable, AsMap    string
	Choose            bool // there are too many identities to draw all of them
	Total             uint64
}

// choiceOf is a link of a row of choices.
type choiceOf struct {
	Text, Href string
	Chosen     bool
}

// mapTable is the same as the picture, in words.
type mapTable struct {
	*report.Map
	Rows  []mapRow
	First string
	Next  string
	From  int
}

type mapRow struct {
	From, To report.MapNode
	Edge     report.MapEdge
}

// maxMapped is how many identities a map of all may have: of more, the few edges that could be drawn say nothing.
const maxMapped = 2000

// mapRows is how many edges a page of the table shows.
const mapRows = 100

func (s *Site) mapPages() {
	s.page("map", "/map", Reader, s.showMap)
}

func (s *Site) showMap(r *http.Request, _ Viewer) (any, error) {
	values := r.URL.Query()
	text, d, err := window(r, "30d")
	if err != nil {
		return nil, err
	}
	v := mapView{Center: strings.TrimSpace(values.Get("center")), Namespace: values.Get("namespace"), Window: text, Depth: 1, Depths: []int{1, 2, 3, 4}}
	if t := values.Get("depth"); t != "" {
		if v.Depth, err = strconv.Atoi(t); err != nil || v.Depth < 1 || v.Depth > report.MaxMapDepth {
			return nil, faultf(http.StatusBadRequest, "depth is not a number from 1 to %d.", report.MaxMapDepth)
		}
	}
	q := url.Values{"window": {text}}
	if v.Center != "" {
		v.Namespace = ""
		q.Set("center", v.Center)
		q.Set("depth", strconv.Itoa(v.Depth))
	} else if v.Namespace != "" {
		q.Set("namespace", v.Namespace)
	}
	v.Source, v.AsMap = "/api/v1/graph?"+q.Encode(), "/map?"+q.Encode()
	v.AsTable = v.AsMap + "&view=table"
	for _, w := range windows {
		next := url.Values{}
		for name, list := range q {
			next[name] = list
		}
		next.Set("window", w)
		if values.Get("view") == "table" {
			next.Set("view", "table")
		}
		v.Windows = append(v.Windows, choiceOf{w, "/map?" + next.Encode(), w == text})
	}
	all, err := s.Reports.Directory(r.Context(), s.now(), report.DirectoryQuery{Limit: 1})
	if err != nil {
		return nil, err
	}
	for _, n := range all.Facets["namespace"] {
		if n.Value != "" && plain(n.Value) == n.Value { // no namespace of Kubernetes has other characters
			v.Namespaces = append(v.Namespaces, n)
		}
	}
	v.Total, v.Choose = all.Total, all.Total > maxMapped && v.Center == "" && v.Namespace == ""
	if values.Get("view") != "table" || v.Choose {
		return v, nil
	}
	m, err := s.Reports.Map(r.Context(), s.now(), report.MapQuery{Center: v.Center, Depth: v.Depth, Namespace: v.Namespace, Window: d})
	if errors.Is(err, report.ErrTarget) {
		return nil, faultf(http.StatusBadRequest, "%v.", err)
	}
	if err != nil {
		return nil, err
	}
	v.Table, err = tableOf(m, values.Get("from"), v.AsTable)
	return v, err
}

func tableOf(m *report.Map, from, link string) (*mapTable, error) {
	t := &mapTable{Map: m}
	if from != "" {
		var err error
		if t.From, err = strconv.Atoi(from); err != nil || t.From < 0 || t.From > report.MaxMapEdges {
			return nil, faultf(http.StatusBadRequest, "from is not a number from 0 to %d.", report.MaxMapEdges)
		}
	}
	nodes := make(map[string]report.MapNode, len(m.Nodes))
	for _, n := range m.Nodes {
		nodes[n.ID] = n
	}
	t.From = min(t.From, len(m.Edges))
	until := min(t.From+mapRows, len(m.Edges))
	for _, e := range m.Edges[t.From:until] {
		t.Rows = append(t.Rows, mapRow{nodes[e.From], nodes[e.To], e})
	}
	if t.From > 0 {
		t.First = link
	}
	if until < len(m.Edges) {
		t.Next = fmt.Sprintf("%s&from=%d", link, until)
	}
	return t, nil
}
