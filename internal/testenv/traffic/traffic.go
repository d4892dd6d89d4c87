// Package traffic is a small program that connects and is connected to, in a pod of a test, and that counts both. It is told what to do in JSON, one
// order a line, and answers each with one line.
package traffic

// Order is one thing to do; exactly one field is set.
type Order struct {
	Serve *Serve `json:"serve,omitempty"`
	Dial  []Dial `json:"dial,omitempty"`
	Stop  bool   `json:"stop,omitempty"` // close what listens, finish what was accepted, answer what was served, end
}

// Serve listens on all addresses of the program's network, or on one.
type Serve struct {
	Address string   `json:"address,omitempty"`
	TCP     []uint16 `json:"tcp,omitempty"`
	UDP     []uint16 `json:"udp,omitempty"`
}

// Dial connects several times, one after the other. A connection is done when the other end has answered.
type Dial struct {
	Network string `json:"network"` // tcp or udp
	Address string `json:"address"` // with port
	Times   int    `json:"times"`
}

// Dialled is what became of a Dial.
type Dialled struct {
	Done   int    `json:"done"`
	Failed int    `json:"failed"`
	Error  string `json:"error,omitempty"` // the last
}

// Served is how often one program connected to a port of this one. Programs tell their names when they connect.
type Served struct {
	Network string `json:"network"`
	Port    uint16 `json:"port"`
	From    string `json:"from"`
	Times   int    `json:"times"`
}

// Answer to an Order.
type Answer struct {
	Error   string    `json:"error,omitempty"`
	Dialled []Dialled `json:"dialled,omitempty"` // of a Dial, in its order
	Served  []Served  `json:"served,omitempty"`  // of a Stop
}
