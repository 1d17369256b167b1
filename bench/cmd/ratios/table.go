package main

import "github.com/warrenvpn/warren/bench/stat"

// A ratio compares two benchmarks of one package by their ns/op or by what they report in a unit of their own, or without a
// denominator shows what one benchmark reports. Names are as `go test -bench` prints them, without the leading Benchmark and the
// number of processors at the end.
type ratio struct {
	title       string
	pkg         string // as an argument of go test, from the module's root
	numerator   string
	denominator string
	target      stat.Target
	unit        string // of the values; empty for ns/op
}

// ratios is what warren promises of its work in memory.
var ratios = []ratio{
	{"outbound ÷ bare Seal, 1400 B", "./dataplane", "Outbound/1400", "BareSeal/1400", stat.Target{AtMost: 1.10}, ""},
	{"outbound ÷ bare Seal, 64 B", "./dataplane", "Outbound/64", "BareSeal/64", stat.Target{AtMost: 1.25}, ""},
	{"inbound ÷ bare Open, 1400 B", "./dataplane", "Inbound/1400", "BareOpen/1400", stat.Target{AtMost: 1.10}, ""},
	{"inbound ÷ bare Open, 64 B", "./dataplane", "Inbound/64", "BareOpen/64", stat.Target{AtMost: 1.25}, ""},
	{"two workers ÷ one, many SAs", "./dataplane", "Workers/manySAs/1", "Workers/manySAs/2", stat.Target{AtLeast: 1.8}, ""},
	{"two workers ÷ one, one SA outbound", "./dataplane", "Workers/oneSAOutbound/1", "Workers/oneSAOutbound/2", stat.Target{AtLeast: 1.6}, ""},
	{"two workers ÷ one, one SA inbound", "./dataplane", "Workers/oneSAInbound/1", "Workers/oneSAInbound/2", stat.Target{AtLeast: 1.6}, ""},
	{"10,000 tunnels ÷ one, 1400 B", "./dataplane", "Tunnels/10000", "Tunnels/1", stat.Target{AtMost: 1.3}, ""},
	{"lookup: bart.Fast ÷ warren, IPv4, 65,536", "./routing/fib", "FullLookup4/bart.Fast/65536", "FullLookup4/warren/65536", stat.Target{AtLeast: 10}, ""},
	{"lookup: bart.Fast ÷ warren, IPv6, 65,536", "./routing/fib", "FullLookup6/bart.Fast/65536", "FullLookup6/warren/65536", stat.Target{AtLeast: 5}, ""},
	{"the same, IPv4, 1,048,576", "./routing/fib", "FullLookup4/bart.Fast/1048576", "FullLookup4/warren/1048576", stat.Target{}, ""},
	{"the same, IPv6, 1,048,576", "./routing/fib", "FullLookup6/bart.Fast/1048576", "FullLookup6/warren/1048576", stat.Target{}, ""},
	{"memory of a full table, MB", "./routing/fib", "FullLoad/shuffled", "", stat.Target{AtMost: 200}, "MB"},
	{"speed that a reader keeps during 100,000 changes/s, %", "./routing/fib", "FullReader/changes-100k/65536", "", stat.Target{AtLeast: 90}, "kept-%"},
	{"memory of a peer, warren ÷ wireguard-go, 1 peer", "./bench", "WireGuardMemory/1/new", "", stat.Target{AtMost: 0.25}, "share"},
	{"the same, 10,000 peers", "./bench", "WireGuardMemory/10000/new", "", stat.Target{AtMost: 0.25}, "share"},
	{"the same, with a session each", "./bench", "WireGuardMemory/10000/session", "", stat.Target{AtMost: 0.25}, "share"},
	{"WireGuard handshakes as responder: wireguard-go ÷ warren", "./bench", "WireGuardHandshakes/wireguard-go", "WireGuardHandshakes/warren", stat.Target{AtLeast: 1.5}, "responder-ns"},
	{"the same, the initiator's time included", "./bench", "WireGuardHandshakes/wireguard-go", "WireGuardHandshakes/warren", stat.Target{}, ""},
	{"throughput beside a flood, garbage: discarded ÷ received", "./bench", "WireGuardFlood/garbage/discarded", "WireGuardFlood/garbage/received", stat.Target{AtLeast: 0.9}, ""},
	{"the same, bad mac", "./bench", "WireGuardFlood/bad_mac/discarded", "WireGuardFlood/bad_mac/received", stat.Target{AtLeast: 0.9}, ""},
	{"the same, without a cookie", "./bench", "WireGuardFlood/no_cookie/discarded", "WireGuardFlood/no_cookie/received", stat.Target{AtLeast: 0.9}, ""},
	{"changes/s at most, beside a reader", "./routing/fib", "FullReader/changes-most/65536", "", stat.Target{AtLeast: 100_000}, "changes/s"},
}

// pairwise are the packages whose ratios are taken one by one, the two sides right behind each other and so many times in a round:
// what is compared there is close together, and the machine's speed wanders from second to second.
var pairwise = map[string]int{"./dataplane": 3}

// benchtimes are the times of a package's benchmarks where they are not the usual one: those in ./bench measure rates of whole
// programs, and what is taken many times may be short.
var benchtimes = map[string]string{"./bench": "1s", "./dataplane": "100ms"}
