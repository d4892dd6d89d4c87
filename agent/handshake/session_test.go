package handshake

import (
	"bytes"
	"testing"
)

func TestReadSession(t *testing.T) {
	leaf := casts().plain.Certificate.Raw
	whole := sessionDER(t, leaf, 0)
	f := func(name string, der []byte, certificate []byte, verified, ok bool) {
		t.Helper()
		s, err := readSession(der)
		if (err == nil) != ok || !bytes.Equal(s.certificate, certificate) || s.verified != verified {
			t.Errorf("%s: certificate of %d bytes, verified %t, %v", name, len(s.certificate), s.verified, err)
		}
	}
	f("whole", whole, leaf, true, true)
	f("not verified", sessionDER(t, leaf, 20), leaf, false, true)
	f("no certificate", sessionDER(t, nil, 0), nil, true, true)
	f("the certificate alone", leaf, leaf, false, true)
	f("cut behind the certificate", whole[:len(whole)-30], leaf, false, true)
	f("cut within the certificate", whole[:len(whole)-100], nil, false, true)
	f("nothing", nil, nil, false, false)
	f("a set", []byte{0x31, 2, 5, 0}, nil, false, false)
	f("a sequence of nothing", []byte{0x30, 0}, nil, false, false)
	f("a length of four bytes", []byte{0x30, 0x84, 1, 0, 0, 0, 2, 1, 1}, nil, false, false)
	f("a length without end", []byte{0x30, 0x80, 2, 1, 1, 0, 0}, nil, false, false)
	f("something else as certificate", []byte{0x30, 7, 2, 1, 1, 0xa3, 2, 5, 0}, nil, false, false)
	f("two certificates", []byte{0x30, 11, 2, 1, 1, 0xa3, 2, 0x30, 0, 0xa3, 2, 0x30, 0}, []byte{}, false, false)
	f("no number as result", []byte{0x30, 7, 2, 1, 1, 0xa5, 2, 5, 0}, nil, false, false)
}

func FuzzReadSession(f *testing.F) {
	leaf := casts().plain.Certificate.Raw
	f.Add(sessionDER(f, leaf, 0))
	f.Add(sessionDER(f, nil, 1))
	f.Add(leaf)
	f.Fuzz(func(t *testing.T, der []byte) {
		if s, err := readSession(der); err == nil && s.certificate != nil && !bytes.Contains(der, s.certificate) {
			t.Error("the certificate is not within the session")
		}
	})
}
