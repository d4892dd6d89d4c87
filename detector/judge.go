package detector

import "github.com/ambit-nhi/ambit/event"

// Judge takes in what a person decided about a finding, and appends the finding as it is then, unless that is how it was. A verdict that teaches makes
// the edge normal, whether its finding is still held or not. v is valid. To repeat a verdict changes nothing; of several the latest holds.
func (d *Detector) Judge(v *event.Verdict, out []event.Finding) []event.Finding {
	r := ruleNamed(v.Rule)
	who, known := d.idIndex[v.Identity]
	if r == nil || !known {
		d.refused[causeVerdict]++
		return out
	}
	k := findingKey{edgeKey{who, wholeIdentity}, r}
	if what, known := d.resIndex[v.Resource]; known {
		k.resource = what
	}
	t := d.findings.open[k]
	if t == nil {
		k.resource = wholeIdentity
		t = d.findings.open[k]
	}
	if t == nil {
		d.teach(who, v, false)
		return out
	}
	was := t.finding
	if !v.Apply(&t.finding) {
		return out
	}
	d.teach(who, v, true)
	if f := &t.finding; f.Status == was.Status && f.Verdict == was.Verdict && f.Reason == was.Reason && f.Until.Equal(was.Until) && f.Decided.Equal(was.Decided) {
		return out
	}
	return append(out, t.give())
}

// teach makes an edge normal, or takes that back.
func (d *Detector) teach(who uint32, v *event.Verdict, held bool) {
	if !aboutReach(v.Rule) {
		return
	}
	what, known := d.resIndex[v.Resource]
	if !known {
		d.refused[causeVerdict]++
		return
	}
	e := d.edges.find(edgeKey{who, what})
	switch {
	case e == nil:
		d.refused[causeVerdict]++
	case v.Kind.Teaches():
		e.state = edgeApproved
	case e.state == edgeApproved && held:
		e.state = edgeTold
	}
}

// approved takes in that an edge is used which is normal by a person's word: that word may have an end.
func (s *sight) approved(key edgeKey, e *edge) {
	t := s.d.findings.open[findingKey{key, reachRules[e.rule]}]
	if t == nil || !t.finding.Verdict.Teaches() || !t.again(s.first) {
		return
	}
	e.state = edgeTold
	t.raise(e.connections, s.last)
	s.out = append(s.out, t.give())
}

// approvals counts the edges of an identity that are normal by a person's word, or by its scope.
func (d *Detector) approvals(id *identity) (n uint64) {
	d.eachEdge(id, func(e *edge) {
		if e.state == edgeApproved {
			n++
		}
	})
	return n
}
