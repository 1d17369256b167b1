//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"

	"github.com/warrenvpn/warren/routing/fib/fibtest"
)

// world is what there is to be learned.
type world struct {
	prefixes []netip.Prefix
	v4, v6   int
	share    int // consecutive prefixes with the same attributes
	origin   string
}

// newWorld takes n prefixes of a table, evenly, or with 0 all.
func newWorld(t fibtest.Table, n, share int) *world {
	w := &world{prefixes: t.Prefixes, share: share, origin: t.Origin}
	if n > 0 && n < len(t.Prefixes) {
		w.prefixes = make([]netip.Prefix, n)
		for i := range w.prefixes {
			w.prefixes[i] = t.Prefixes[i*len(t.Prefixes)/n]
		}
	}
	for _, p := range w.prefixes {
		if p.Addr().Is4() {
			w.v4++
		} else {
			w.v6++
		}
	}
	return w
}

// attributeSets is how many different ones the prefixes have.
func (w *world) attributeSets() int { return (len(w.prefixes) + w.share - 1) / w.share }

// writeStatics writes the prefixes as static routes of BIRD 2, in protocols s4 and s6.
func (w *world) writeStatics(out io.Writer) error {
	b := bufio.NewWriter(out)
	for _, family := range []struct {
		name, channel string
		is4           bool
	}{{"s4", "ipv4", true}, {"s6", "ipv6", false}} {
		fmt.Fprintf(b, "protocol static %s { %s;\n", family.name, family.channel)
		for i, p := range w.prefixes {
			if p.Addr().Is4() == family.is4 {
				fmt.Fprintf(b, "route %v unreachable { %s };\n", p, attributes(i/w.share))
			}
		}
		fmt.Fprintln(b, "}")
	}
	return b.Flush()
}

// attributes are set number n, as statements of BIRD's filter language: an AS path of two to five, and a community of its first.
func attributes(n int) string {
	r := rand.New(rand.NewPCG(uint64(n), 1))
	text := ""
	for range 2 + r.IntN(4) {
		text += fmt.Sprintf("bgp_path.prepend(%d); ", 1+r.IntN(60000))
	}
	return text + fmt.Sprintf("bgp_community.add((%d,%d));", 1+r.IntN(60000), n%65536)
}
