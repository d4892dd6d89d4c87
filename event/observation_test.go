package event

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The example of the promise to other programs, with every field.
const fullObservation = `{"time":"2026-11-21T22:00:10Z","first_time":"2026-11-21T22:00:00.5Z","node":"n1",` +
	`"workload":{"identity":"spiffe://shop.example/ns/shop/sa/checkout","evidence":"kubernetes","namespace":"shop","pod":"checkout-7c9f","container":"server",` +
	`"image":"registry.example/checkout@sha256:00ff","service_account":"checkout","owner":"Deployment/checkout","unit":"a.service","executable":"/app/checkout","interactive":true,"cgroup":"a/b","uid":1000,"unattributed":"too-many-edges"},` +
	`"direction":"outbound","protocol":"tcp",` +
	`"peer":{"address":"10.1.2.3","port":5432,"dialled":"10.96.0.12:5432","name":"db.shop.svc","name_source":"service","identity":"spiffe://shop.example/ns/shop/sa/db","evidence":"svid","range":"10.1.2.0/24"},` +
	`"tls":{"version":"1.3","sni":"db.shop.svc","alpn":"h2","mutual":true,"verified":true,"provenance":"full",` +
	`"peer_certificate":{"sha256":"00","serial":"1","issuer":"CA","not_before":"2026-11-21T00:00:00Z","not_after":"2026-11-22T00:00:00Z","proven":true},"own_certificate":{"sha256":"01"}},` +
	`"counts":{"connections":12,"failed":2,"denied":1,"bytes_sent":48211,"bytes_received":90322},"last_error":"refused"}`

func TestObservationJSON(t *testing.T) {
	o, err := ParseObservation([]byte(fullObservation))
	if err != nil {
		t.Fatal(err)
	}
	back, err := json.Marshal(o)
	if err != nil || string(back) != fullObservation {
		t.Errorf("%v\n got %s\nwant %s", err, back, fullObservation)
	}
	eachLeaf(t, reflect.ValueOf(o), "observation")

	const small = `{"time":"2026-11-21T22:00:10Z","workload":{"identity":"spiffe://a/b"},"direction":"inbound","protocol":"udp","peer":{"name":"a"}}`
	if o, err = ParseObservation([]byte(small)); err != nil {
		t.Fatal(err)
	}
	if back, err = json.Marshal(o); err != nil || string(back) != small {
		t.Errorf("%v\n got %s\nwant %s", err, back, small)
	}
	if !o.First().Equal(o.Time) {
		t.Errorf("first at %s", o.First())
	}
}

// eachLeaf fails for fields that the full example leaves out.
func eachLeaf(t *testing.T, v reflect.Value, name string) {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if strings.HasSuffix(name, ".OwnCertificate") {
		return // the peer's stands for both
	}
	if v.IsZero() {
		t.Errorf("%s is not in the example", name)
		return
	}
	if v.Kind() == reflect.Struct && v.NumField() > 0 && v.Type().Field(0).IsExported() {
		for i := range v.NumField() {
			eachLeaf(t, v.Field(i), name+"."+v.Type().Field(i).Name)
		}
	}
}

func TestParseObservationRefuses(t *testing.T) {
	replace := func(old, new string) string {
		if !strings.Contains(fullObservation, old) {
			t.Fatalf("%s is not in the example", old)
		}
		return strings.Replace(fullObservation, old, new, 1)
	}
	for text, want := range map[string]string{
		"":                       "unexpected end of JSON",
		"{":                      "unexpected end of JSON",
		"null":                   "time is missing; workload.identity is missing",
		"[]":                     "cannot unmarshal array",
		fullObservation + " {}":  "text after the JSON object",
		fullObservation + " x":   "text after the JSON object",
		replace(`"node"`, `"n"`): `unknown field "n"`,
		replace(`"2026-11-21T22:00:10Z"`, `"yesterday"`):                  "cannot parse",
		replace(`"2026-11-21T22:00:10Z"`, `"2300-11-21T22:00:10Z"`):       "time 2300-11-21T22:00:10Z is not plausible",
		replace(`"2026-11-21T22:00:00.5Z"`, `"2026-11-21T23:00:00Z"`):     "first_time is after time",
		replace(`spiffe://shop.example/ns/shop/sa/checkout`, `checkout`):  "scheme is not spiffe or x509",
		replace(`"evidence":"kubernetes"`, `"evidence":"hearsay"`):        `workload.evidence "hearsay" is unknown`,
		replace(`"evidence":"svid"`, `"evidence":"hearsay"`):              `peer.evidence "hearsay" is unknown`,
		replace(`"outbound"`, `"sideways"`):                               `direction "sideways" is neither outbound nor inbound`,
		replace(`"tcp"`, `"sctp"`):                                        `protocol "sctp" is neither tcp nor udp`,
		replace(`"name_source":"service"`, `"name_source":"guess"`):       `peer.name_source "guess" is not dns, service, sni or node`,
		replace(`"too-many-edges"`, `"laziness"`):                         `workload.unattributed "laziness" is unknown`,
		replace(`"10.1.2.0/24"`, `"10.9.0.0/24"`):                         "peer.range 10.9.0.0/24 does not hold peer.address",
		replace(`"/app/checkout"`, `"/`+strings.Repeat("a", maxText)+`"`): "longer than 4096 bytes",
		replace(`"connections":12`, `"connections":-12`):                  "cannot unmarshal number -12",
		replace(`"port":5432`, `"port":65536`):                            "cannot unmarshal number 65536",
		replace(`"address":"10.1.2.3"`, `"address":"10.1.2"`):             "ParseAddr",
		`{"time":"2026-11-21T22:00:10Z","workload":{"identity":"spiffe://a/b"},"direction":"inbound","protocol":"udp","peer":{"port":1}}`: "peer has neither address nor name nor identity",
	} {
		_, err := ParseObservation([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.60s: got %v, want %s", text, err, want)
		}
	}
}

func TestObservationJSONRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawObservation(t, drawName(t, "node"), noon)
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseObservation(text)
		if err != nil || !reflect.DeepEqual(o, back) {
			t.Fatalf("%v\n got %+v\nwant %+v", err, back, o)
		}
	})
}

func TestCountsAdd(t *testing.T) {
	c := Counts{1, 2, 3, 4, 5}
	c.Add(Counts{10, 20, 30, 40, 50})
	if c != (Counts{11, 22, 33, 44, 55}) {
		t.Errorf("got %+v", c)
	}
}

func FuzzParseObservation(f *testing.F) {
	f.Add([]byte(fullObservation))
	f.Add([]byte(`{"time":"2026-11-21T22:00:10Z","workload":{"identity":"spiffe://a/b"},"direction":"inbound","protocol":"udp","peer":{"address":"fe80::1%eth0"}}`))
	f.Add([]byte(`{"time":"2026-11-21T22:00:10+07:00","peer":{"dialled":"[::1]:1"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := ParseObservation(data)
		if err != nil {
			return
		}
		if o.First().After(o.Time) || ResourceOf(&o).IsZero() {
			t.Errorf("%s gave %+v", data, o)
		}
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if _, err := ParseObservation(text); err != nil {
			t.Errorf("%s became %s: %v", data, text, err)
		}
		b := NewBatchBuilder("n1", "boot", o.First())
		b.Add(&o)
		if wire, err := b.Encode(1, 1, o.Time.Add(time.Second)); err == nil {
			if _, err := DecodeBatch(wire); err != nil {
				t.Errorf("%s cannot travel: %v", text, err)
			}
		}
	})
}
