//go:build linux

package lab

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// flowPort is where the far end of every flow listens.
const flowPort = 9000

// flowProbe is the length of a datagram's payload in octets: the flow's number, the probe's number, both 32 bits.
const flowProbe = 64

// flowsLife bounds how long flows are recorded.
const flowsLife = 5 * time.Minute

// Flows are looked after at such intervals: what is due is sent together, and what has arrived is read.
const (
	minFlowStep = 5 * time.Millisecond
	maxFlowStep = 10 * time.Millisecond
)

// A Flow is a stream of numbered UDP datagrams, one way, each sent an interval after the one before.
type Flow struct {
	From, To *Host
	Src, Dst netip.AddrPort
	Interval time.Duration

	conn *net.UDPConn
	// sent is when each probe was, in nanoseconds since the flows' epoch; the first count are valid. Written by the sender.
	sent  []int64
	count atomic.Int64
	// arrived says which of them have.
	arrived []atomic.Bool
	// phase is when, after the flows began, the first is due.
	phase time.Duration
}

// Flows are many, on one clock, in one goroutine: that hundreds of them run costs little more than their packets.
type Flows struct {
	All []*Flow

	epoch   time.Time
	sinks   []syscall.RawConn
	sockets []*net.UDPConn
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// A Direction is between which addresses flows go, and how many.
type Direction struct {
	From, To *Host
	Src, Dst netip.Addr
	Count    int
	// Interval is that of these flows, 0 what all have.
	Interval time.Duration
}

// StartFlows sends a probe of each flow every interval, until Close. Flows with the same interval are spread evenly over it. What was
// due while this process stood still for longer than [Standstill] is not sent: all of it at once would be a flood.
func StartFlows(directions []Direction, interval time.Duration) (*Flows, error) {
	f := &Flows{epoch: time.Now()}
	if err := f.open(directions, interval); err != nil {
		return nil, errors.Join(err, f.closeSockets())
	}
	f.spread()
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	f.running.Go(func() { f.run(ctx) })
	return f, nil
}

func (f *Flows) open(directions []Direction, interval time.Duration) error {
	sinks := map[netip.Addr]*net.UDPConn{}
	for _, d := range directions {
		if sinks[d.Dst] == nil {
			sink, err := f.listen(d.To, netip.AddrPortFrom(d.Dst, flowPort))
			if err != nil {
				return err
			}
			if err := sink.SetReadBuffer(1 << 20); err != nil {
				return fmt.Errorf("enlarge a buffer: %w", err)
			}
			raw, err := sink.SyscallConn()
			if err != nil {
				return err
			}
			sinks[d.Dst], f.sinks = sink, append(f.sinks, raw)
		}
		for range d.Count {
			conn, err := f.listen(d.From, netip.AddrPortFrom(d.Src, 0))
			if err != nil {
				return err
			}
			every := cmp.Or(d.Interval, interval)
			probes := int(flowsLife / every)
			f.All = append(f.All, &Flow{From: d.From, To: d.To, Src: conn.LocalAddr().(*net.UDPAddr).AddrPort(), Interval: every,
				Dst: netip.AddrPortFrom(d.Dst, flowPort), conn: conn, sent: make([]int64, probes), arrived: make([]atomic.Bool, probes)})
		}
	}
	return nil
}

// spread gives flows their phases.
func (f *Flows) spread() {
	count, next := map[time.Duration]int{}, map[time.Duration]int{}
	for _, flow := range f.All {
		count[flow.Interval]++
	}
	for _, flow := range f.All {
		flow.phase = flow.Interval * time.Duration(next[flow.Interval]) / time.Duration(count[flow.Interval])
		next[flow.Interval]++
	}
}

func (f *Flows) listen(h *Host, at netip.AddrPort) (conn *net.UDPConn, err error) {
	err = h.Inside(func() error {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		return err
	})
	if conn != nil {
		f.sockets = append(f.sockets, conn)
	}
	if err != nil {
		return nil, fmt.Errorf("open a socket on host %s: %w", h.Name, err)
	}
	return conn, nil
}

// run sends what is due and takes what has arrived, until ctx ends.
func (f *Flows) run(ctx context.Context) {
	step := maxFlowStep
	for _, flow := range f.All {
		step = min(step, max(minFlowStep, flow.Interval))
	}
	tick := time.NewTicker(step)
	defer tick.Stop()
	begin := time.Now()
	for last := begin; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		if late := now.Sub(last) - step; late > Standstill {
			begin = begin.Add(late)
		}
		last = now
		f.send(now.Sub(begin))
		f.receive()
	}
}

// send sends what is due. A probe that the kernel refuses is one that does not arrive.
func (f *Flows) send(since time.Duration) {
	var probe [flowProbe]byte
	for number, flow := range f.All {
		seq := flow.count.Load()
		for ; flow.phase+time.Duration(seq)*flow.Interval <= since && seq < int64(len(flow.sent)); seq++ {
			binary.BigEndian.PutUint32(probe[:], uint32(number))
			binary.BigEndian.PutUint32(probe[4:], uint32(seq))
			flow.sent[seq] = int64(time.Since(f.epoch))
			flow.count.Store(seq + 1)
			_, _ = flow.conn.WriteToUDPAddrPort(probe[:], flow.Dst)
		}
	}
}

// receive notes what has arrived.
func (f *Flows) receive() {
	var buf [2048]byte
	for _, sink := range f.sinks {
		_ = sink.Read(func(fd uintptr) bool { // a socket that is closed has nothing
			for {
				n, err := unix.Read(int(fd), buf[:])
				if err == unix.EINTR {
					continue
				}
				if err != nil {
					return true
				}
				f.note(buf[:n])
			}
		})
	}
}

func (f *Flows) note(probe []byte) {
	if len(probe) != flowProbe {
		return
	}
	number, seq := binary.BigEndian.Uint32(probe), binary.BigEndian.Uint32(probe[4:])
	if int(number) < len(f.All) && int(seq) < len(f.All[number].arrived) {
		f.All[number].arrived[seq].Store(true)
	}
}

// Loss is for how long a flow was cut off: the probes that were sent in a time and did not arrive, each counting as an interval.
type Loss struct {
	Sent, Lost int
	For        time.Duration
	// First and Last are when the first and the last that was lost were sent.
	First, Last time.Time
}

// Loss counts what was sent from one time up to another. Probes on their way count as lost.
func (f *Flows) Loss(flow *Flow, from, to time.Time) (l Loss) {
	begin, end := int64(from.Sub(f.epoch)), int64(to.Sub(f.epoch))
	for seq := range flow.count.Load() {
		at := flow.sent[seq]
		if at < begin || at >= end {
			continue
		}
		l.Sent++
		if !flow.arrived[seq].Load() {
			if l.Lost == 0 {
				l.First = f.epoch.Add(time.Duration(at))
			}
			l.Lost, l.Last = l.Lost+1, f.epoch.Add(time.Duration(at))
		}
	}
	l.For = time.Duration(l.Lost) * flow.Interval
	return l
}

// Worst is the greatest loss among flows that a function chooses, nil for all.
func (f *Flows) Worst(from, to time.Time, choose func(*Flow) bool) (worst Loss, of *Flow) {
	for _, flow := range f.All {
		if choose != nil && !choose(flow) {
			continue
		}
		if l := f.Loss(flow, from, to); of == nil || l.For > worst.For {
			worst, of = l, flow
		}
	}
	return worst, of
}

// Span is how long after the first probe that any of the flows lost the last was sent.
func (f *Flows) Span(from, to time.Time, choose func(*Flow) bool) time.Duration {
	var first, last time.Time
	for _, flow := range f.All {
		l := f.Loss(flow, from, to)
		if !choose(flow) || l.Lost == 0 {
			continue
		}
		if first.IsZero() || l.First.Before(first) {
			first = l.First
		}
		if l.Last.After(last) {
			last = l.Last
		}
	}
	return last.Sub(first)
}

// Entries says by which device of its host each flow leaves, as the host's routes are now.
func (f *Flows) Entries(ctx context.Context) (map[*Flow]string, error) {
	devices := map[*Flow]string{}
	byHost := map[*Host][]*Flow{}
	for _, flow := range f.All {
		byHost[flow.From] = append(byHost[flow.From], flow)
	}
	for h, flows := range byHost {
		var batch strings.Builder
		for _, flow := range flows {
			fmt.Fprintf(&batch, "route get %v from %v ipproto udp sport %d dport %d\n", flow.Dst.Addr(), flow.Src.Addr(), flow.Src.Port(), flow.Dst.Port())
		}
		out, err := h.RunInput(ctx, batch.String(), "ip", "-batch", "-")
		if err != nil {
			return nil, err
		}
		next := 0
		for line := range strings.Lines(out) {
			words := strings.Fields(line)
			for i := range words {
				if words[i] == "dev" && i+1 < len(words) && next < len(flows) {
					devices[flows[next]] = words[i+1]
					next++
				}
			}
		}
		if next != len(flows) {
			return nil, cmp.Or(ctx.Err(), fmt.Errorf("host %s has routes for %d of %d flows: %s", h.Name, next, len(flows), tail(out, 500)))
		}
	}
	return devices, nil
}

// Close stops all flows. What was recorded stays. Closing twice is allowed.
func (f *Flows) Close() error {
	f.cancel()
	f.running.Wait()
	f.receive()
	return f.closeSockets()
}

func (f *Flows) closeSockets() error {
	var errs []error
	for _, c := range f.sockets {
		errs = append(errs, c.Close())
	}
	f.sockets, f.sinks = nil, nil
	return errors.Join(errs...)
}
