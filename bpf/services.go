package bpf

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// ServiceRanges is how many prefixes [Kernel.SetServiceRanges] takes.
const ServiceRanges = 4

// SetServiceRanges names the addresses that the network translates, such as those of services. Edges toward them get to know their Local with the
// first connection that is established from now on.
func (k *Kernel) SetServiceRanges(prefixes []netip.Prefix) error {
	words, err := rangeWords(prefixes)
	if err != nil {
		return err
	}
	set := func(name string, v any) error {
		if err := k.collection.Variables[name].Set(v); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
		return nil
	}
	if err := set("service_range_count", uint32(0)); err != nil { // nobody reads half a prefix
		return err
	}
	if err := set("service_ranges", words); err != nil {
		return err
	}
	return set("service_range_count", uint32(len(prefixes)))
}

// rangeWords lays prefixes out as the kernel side reads them: address and mask, IPv4 as ::ffff:a.b.c.d.
func rangeWords(prefixes []netip.Prefix) (words [ServiceRanges]ambitRange, err error) {
	if len(prefixes) > ServiceRanges {
		return words, fmt.Errorf("%d service ranges are more than %d", len(prefixes), ServiceRanges)
	}
	for i, p := range prefixes {
		if !p.IsValid() || p.Addr().Zone() != "" || p.Addr().Is4In6() {
			return words, fmt.Errorf("service range %d is no prefix: %q", i+1, p)
		}
		bits, address := p.Bits(), p.Masked().Addr().As16()
		if p.Addr().Is4() {
			bits += 96
		}
		var mask [16]byte
		for b := range bits {
			mask[b/8] |= 0x80 >> (b % 8)
		}
		for w := range 2 {
			words[i].Address[w] = binary.NativeEndian.Uint64(address[w*8:])
			words[i].Mask[w] = binary.NativeEndian.Uint64(mask[w*8:])
		}
	}
	return words, nil
}
