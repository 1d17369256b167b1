//go:build linux

package bgp

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/warrenvpn/warren/bench/lab"
	"github.com/warrenvpn/warren/internal/until"
	"github.com/warrenvpn/warren/routing/bgp/message"
	"github.com/warrenvpn/warren/routing/route"
)

// The size of the Internet's table in 2026.
const fullIPv4, fullIPv6 = 901899, 160147

// fullPrefix is the i-th prefix of a table of that size.
func fullPrefix(i int) netip.Prefix {
	if i < fullIPv4 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(1 + i>>16), byte(i >> 8), byte(i), 0}), 24)
	}
	i -= fullIPv4
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, byte(i >> 16), 0x10, byte(i >> 8), byte(i)}), 48)
}

// countingTable counts what it learns, and announces what it is asked to.
type countingTable struct {
	announce     []Change
	begun, done  atomic.Int64 // times since start
	routes, gone atomic.Int64
	start        time.Time
	established  chan *Session
	expect       int64
}

func (c *countingTable) Established(s *Session) {
	c.begun.Store(int64(time.Since(c.start)))
	s.Advertise(c.announce)
	s.EndOfRIB()
	c.established <- s
}

func (c *countingTable) Update(s *Session, routes []Route) Counts {
	learned, gone := int64(0), int64(0)
	for i := range routes {
		if routes[i].Attrs != nil {
			learned++
		} else {
			gone++
		}
	}
	c.gone.Add(gone)
	if c.routes.Add(learned) >= c.expect {
		c.done.Store(int64(time.Since(c.start)))
	}
	return Counts{}
}

func (c *countingTable) EndOfRIB(*Session, message.Family)              {}
func (c *countingTable) Sweep(*route.Peer, message.Family) Counts       { return Counts{} }
func (c *countingTable) Down(s *Session, _ message.Families, why error) {}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heapMB() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / 1e6
}

// BenchmarkFullTable exchanges a full table with BIRD 2 and reports the seconds from Established on, and our CPU seconds. Either
// eight prefixes share their attributes or all of them; BIRD announces the former almost one by one.
func BenchmarkFullTable(b *testing.B) {
	for name, share := range map[string]int{"attributes=132756": 8, "attributes=1": fullIPv4 + fullIPv6} {
		b.Run("fromBIRD/"+name, func(b *testing.B) {
			for range b.N {
				fromBIRD(b, share)
			}
		})
		b.Run("toBIRD/"+name, func(b *testing.B) {
			for range b.N {
				toBIRD(b, share)
			}
		})
	}
}

func fromBIRD(b *testing.B, share int) {
	l, ours, theirs := lab.PairForTest(b, "bird", "birdc")
	table := &countingTable{start: time.Now(), established: make(chan *Session, 1), expect: fullIPv4 + fullIPv6}
	bird := startBIRD(b, l, theirs, fullConfig(b, l, share))
	n := birdNeighbor("192.0.2.2", "192.0.2.1")
	n.Exports = false
	before := cpuTime()
	s, stop := speakerOn(b, ours, table, n)
	longAwait(b, "the table", func() bool { return table.done.Load() != 0 })
	b.ReportMetric(time.Duration(table.done.Load()-table.begun.Load()).Seconds(), "s")
	b.ReportMetric((cpuTime() - before).Seconds(), "cpu-s")
	b.ReportMetric(float64(s.Status()[0].Counters.UpdatesIn), "updates")
	start := time.Now()
	bird.ask("disable", "s4")
	bird.ask("disable", "s6")
	longAwait(b, "withdrawals", func() bool { return table.gone.Load() >= table.expect })
	b.ReportMetric(time.Since(start).Seconds(), "withdraw-s")
	stop()
}

func toBIRD(b *testing.B, share int) {
	l, ours, theirs := lab.PairForTest(b, "bird", "birdc")
	table := &countingTable{start: time.Now(), established: make(chan *Session, 1), expect: 1 << 40}
	var attrs *route.Attrs
	for i := range fullIPv4 + fullIPv6 {
		if i%share == 0 {
			attrs = &route.Attrs{MED: uint32(i / share), HasMED: true}
		}
		table.announce = append(table.announce, Change{Prefix: fullPrefix(i), Attrs: attrs})
	}
	bird := startBIRD(b, l, theirs, birdConfig("192.0.2.2 as 65002", "192.0.2.1 as 65001", ""))
	heap, before := heapMB(), cpuTime()
	s, stop := speakerOn(b, ours, table, birdNeighbor("192.0.2.2", "192.0.2.1"))
	longAwait(b, "our routes in BIRD", bird.routes(fullIPv4, fullIPv6))
	b.ReportMetric((time.Since(table.start) - time.Duration(table.begun.Load())).Seconds(), "s")
	b.ReportMetric((cpuTime() - before).Seconds(), "cpu-s")
	b.ReportMetric(heapMB()-heap, "heap-MB")
	b.ReportMetric(float64(s.Status()[0].Counters.UpdatesOut), "updates")
	stop()
}

func longAwait(b *testing.B, what string, cond func() bool) {
	b.Helper()
	until.True(b, what, 2*time.Minute, cond)
}

// fullConfig is a BIRD with a full table.
func fullConfig(b *testing.B, l *lab.Lab, share int) string {
	b.Helper()
	var s4, s6 strings.Builder
	for i := range fullIPv4 + fullIPv6 {
		to := &s4
		if i >= fullIPv4 {
			to = &s6
		}
		fmt.Fprintf(to, "route %v blackhole { bgp_med = %d; };\n", fullPrefix(i), i/share)
	}
	path := filepath.Join(l.Dir(), "static.conf")
	if err := os.WriteFile(path, []byte("protocol static s4 { ipv4;\n"+s4.String()+"}\nprotocol static s6 { ipv6;\n"+s6.String()+"}\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	config := birdConfig("192.0.2.2 as 65002", "192.0.2.1 as 65001", "")
	return fmt.Sprintf("include %q;\n%s", path, config[strings.Index(config, "protocol bgp"):])
}
