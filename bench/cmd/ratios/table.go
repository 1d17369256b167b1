package main

import "github.com/warrenvpn/warren/bench/stat"

// A ratio compares two benchmarks of one package by their ns/op. Names are as `go test -bench` prints them, without the
// leading Benchmark and the number of processors at the end.
type ratio struct {
	title       string
	pkg         string // as an argument of go test, from the module's root
	numerator   string
	denominator string
	target      stat.Target
}

// ratios is what warren promises of its work in memory.
var ratios = []ratio{
	{"outbound ÷ bare Seal, 1400 B", "./dataplane", "Outbound/1400", "BareSeal/1400", stat.Target{AtMost: 1.10}},
	{"outbound ÷ bare Seal, 64 B", "./dataplane", "Outbound/64", "BareSeal/64", stat.Target{AtMost: 1.25}},
	{"inbound ÷ bare Open, 1400 B", "./dataplane", "Inbound/1400", "BareOpen/1400", stat.Target{AtMost: 1.10}},
	{"inbound ÷ bare Open, 64 B", "./dataplane", "Inbound/64", "BareOpen/64", stat.Target{AtMost: 1.25}},
	{"two workers ÷ one, many SAs", "./dataplane", "Workers/manySAs/1", "Workers/manySAs/2", stat.Target{AtLeast: 1.8}},
	{"two workers ÷ one, one SA outbound", "./dataplane", "Workers/oneSAOutbound/1", "Workers/oneSAOutbound/2", stat.Target{AtLeast: 1.6}},
	{"two workers ÷ one, one SA inbound", "./dataplane", "Workers/oneSAInbound/1", "Workers/oneSAInbound/2", stat.Target{AtLeast: 1.6}},
	{"10,000 tunnels ÷ one, 1400 B", "./dataplane", "Tunnels/10000", "Tunnels/1", stat.Target{AtMost: 1.3}},
}
