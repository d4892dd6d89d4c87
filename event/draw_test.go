package event

import (
	"net/netip"
	"time"

	"pgregory.net/rapid"
)

// Generators of what is valid, with the edges of it.

func drawName(t *rapid.T, label string) string {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"shop", "a.b.c", "..", ".", "web-1", "kube-system", "user@1000.service", "dev-disk-by\\x2duuid", "ümlaut", "a/b"}),
		rapid.StringMatching(`[a-z0-9._-]{1,20}`),
		rapid.StringN(1, 12, 40),
	).Draw(t, label)
}

func drawIdentity(t *rapid.T, label string) Identity {
	td := rapid.SampledFrom([]string{"shop.example", "ambit.local", "a"}).Draw(t, label+" domain")
	domain, err := ParseTrustDomain(td)
	if err != nil {
		t.Fatal(err)
	}
	switch rapid.IntRange(0, 5).Draw(t, label+" kind") {
	case 0:
		return UnitIdentity(domain, drawName(t, label+" node"), drawName(t, label+" unit"))
	case 1:
		return CgroupIdentity(domain, drawName(t, label+" node"), drawName(t, label+" path"))
	case 2:
		return ProcessIdentity(domain, drawName(t, label+" node"), rapid.Uint32().Draw(t, label+" uid"), drawName(t, label+" exe"))
	case 3:
		return ContainerIdentity(domain, drawName(t, label+" node"), drawName(t, label+" container"))
	case 4:
		id, err := ParseIdentity("x509://0123abcd/CN=" + rapid.StringMatching(`[A-Za-z0-9]{1,8}`).Draw(t, label+" subject"))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	return KubernetesIdentity(domain, drawName(t, label+" namespace"), drawName(t, label+" account"))
}

func drawAddress(t *rapid.T, label string) netip.Addr {
	return rapid.OneOf(
		rapid.SampledFrom([]netip.Addr{
			netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("::1"), netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("::ffff:10.1.2.3"), netip.MustParseAddr("255.255.255.255"),
		}),
		rapid.Custom(func(t *rapid.T) netip.Addr {
			return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "v6")))
		}),
		rapid.Custom(func(t *rapid.T) netip.Addr {
			return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "v4")))
		}),
	).Draw(t, label)
}

func drawWorkload(t *rapid.T) Workload {
	w := Workload{Identity: drawIdentity(t, "workload"), Evidence: rapid.SampledFrom(evidenceOrder[:]).Draw(t, "evidence")}
	if rapid.Bool().Draw(t, "described") {
		w.Namespace, w.Pod, w.Container = drawName(t, "namespace"), drawName(t, "pod"), drawName(t, "container")
		w.Image, w.ServiceAccount, w.Owner = drawName(t, "image"), drawName(t, "account"), drawName(t, "owner")
		w.Unit, w.Executable, w.Cgroup = drawName(t, "unit"), drawName(t, "executable"), drawName(t, "cgroup")
		w.Interactive, w.UID = rapid.Bool().Draw(t, "interactive"), rapid.Uint32().Draw(t, "uid")
		w.Unattributed = rapid.SampledFrom(append(UnattributedReasons, "")).Draw(t, "unattributed")
	}
	return w
}

func drawCertificate(t *rapid.T) *Certificate {
	if rapid.Bool().Draw(t, "no certificate") {
		return nil
	}
	date := rapid.Int64Range(time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC).Unix(), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix())
	return &Certificate{
		SHA256: rapid.StringMatching(`[0-9a-f]{64}`).Draw(t, "sha256"), Serial: drawName(t, "serial"), Issuer: drawName(t, "issuer"),
		NotBefore: time.Unix(date.Draw(t, "not before"), 0).UTC(), NotAfter: time.Unix(date.Draw(t, "not after"), 0).UTC(),
		Proven: rapid.Bool().Draw(t, "proven"),
	}
}

// drawObservation makes a valid observation that ends by end.
func drawObservation(t *rapid.T, node string, end time.Time) Observation {
	at := end.Add(-time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "age")))
	o := Observation{
		Time: at, Node: node, Workload: drawWorkload(t),
		Direction: rapid.SampledFrom([]Direction{Outbound, Inbound}).Draw(t, "direction"),
		Protocol:  rapid.SampledFrom([]Protocol{TCP, UDP}).Draw(t, "protocol"),
		Peer:      Peer{Address: drawAddress(t, "address"), Port: rapid.Uint16().Draw(t, "port")},
		Error:     rapid.SampledFrom([]string{"", "refused", "timeout"}).Draw(t, "error"),
	}
	if rapid.Bool().Draw(t, "since before") {
		o.FirstTime = at.Add(-time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "first")))
	}
	if rapid.Bool().Draw(t, "named") {
		o.Peer.Name = drawName(t, "peer")
		o.Peer.NameSource = rapid.SampledFrom([]NameSource{NameDNS, NameService, NameSNI, NameNode}).Draw(t, "source")
	}
	if rapid.Bool().Draw(t, "identified") {
		o.Peer.Identity, o.Peer.Evidence = drawIdentity(t, "peer"), EvidenceSVID
	}
	if a := o.Peer.Address.Unmap().WithZone(""); rapid.Bool().Draw(t, "one of many") {
		o.Peer.Range = netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "range")).Masked()
	}
	if rapid.Bool().Draw(t, "translated") {
		o.Peer.Dialled = netip.AddrPortFrom(drawAddress(t, "dialled"), rapid.Uint16().Draw(t, "dialled port"))
	}
	if rapid.Bool().Draw(t, "secured") {
		o.TLS = &TLS{
			Version: "1.3", SNI: drawName(t, "sni"), ALPN: "h2", Mutual: rapid.Bool().Draw(t, "mutual"), Verified: rapid.Bool().Draw(t, "verified"),
			Provenance: "full", PeerCertificate: drawCertificate(t), OwnCertificate: drawCertificate(t),
		}
	}
	count := rapid.Uint64Max(maxCount)
	if rapid.Bool().Draw(t, "counted") {
		o.Counts = Counts{count.Draw(t, "connections"), count.Draw(t, "failed"), count.Draw(t, "denied"), count.Draw(t, "sent"), count.Draw(t, "received")}
	}
	return o
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
