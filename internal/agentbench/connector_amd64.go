package main

import "encoding/binary"

// connector is the smallest program that connects: an ELF file of one segment that connects once to a port of 127.0.0.1 and ends with the errno.
// Being small, it can be written, run and removed a hundred thousand times.
func connector(port uint16) []byte {
	code := []byte{
		0xbf, 2, 0, 0, 0, // mov edi, AF_INET
		0xbe, 1, 0, 0, 0, // mov esi, SOCK_STREAM
		0x31, 0xd2, // xor edx, edx
		0xb8, 41, 0, 0, 0, // mov eax, socket
		0x0f, 0x05, // syscall
		0x89, 0xc7, // mov edi, eax
		0x48, 0x8d, 0x35, 25, 0, 0, 0, // lea rsi, [address]
		0xba, 16, 0, 0, 0, // mov edx, its length
		0xb8, 42, 0, 0, 0, // mov eax, connect
		0x0f, 0x05, // syscall
		0x89, 0xc7, // mov edi, eax
		0xf7, 0xdf, // neg edi
		0xb8, 60, 0, 0, 0, // mov eax, exit
		0x0f, 0x05, // syscall
		0, 0,
		2, 0, byte(port >> 8), byte(port), 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, // address: sockaddr_in
	}
	const header, segment, base = 64, 56, 0x400000
	size := uint64(header + segment + len(code))
	var b []byte
	add := func(v any) { b, _ = binary.Append(b, binary.LittleEndian, v) } // fixed sizes: never fails
	add([16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1})
	add([]uint16{2, 62}) // an executable, for x86-64
	add(uint32(1))
	add([]uint64{base + header + segment, header, 0}) // entry, program headers, section headers
	add(uint32(0))
	add([]uint16{header, segment, 1, 0, 0, 0})
	add([]uint32{1, 5}) // load, read and execute
	add([]uint64{0, base, base, size, size, 0x1000})
	return append(b, code...)
}
