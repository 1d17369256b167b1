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
	"time"
)

// flowPort is where the far end of every flow listens.
const flowPort = 9000

// flowProbe is the length of a datagram's payload in octets: the flow's number, the probe's number, both 32 bits.
const flowProbe = 64

// flowsLife bounds how long flows are recorded.
const flowsLife = 5 * time.Minute

// A Flow is a stream of numbered UDP datagrams, one way, each sent an interval after the one before.
type Flow struct {
	From, To *Host
	Src, Dst netip.AddrPort

	conn *net.UDPConn
	// sent is when each probe was, in nanoseconds since the flows' epoch; the first count are valid. Written by the sender.
	sent  []int64
	count atomic.Int64
	// arrived has the same of those that arrived, 0 for the others.
	arrived []atomic.Int64
}

// Flows are many, on one clock.
type Flows struct {
	All      []*Flow
	Interval time.Duration

	epoch   time.Time
	sockets []*net.UDPConn
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// A Direction is between which addresses flows go, and how many.
type Direction struct {
	From, To *Host
	Src, Dst netip.Addr
	Count    int
}

// StartFlows sends a probe of each flow every interval, all spread evenly over it, until Close.
func StartFlows(directions []Direction, interval time.Duration) (*Flows, error) {
	f := &Flows{Interval: interval, epoch: time.Now()}
	if err := f.open(directions); err != nil {
		return nil, errors.Join(err, f.closeSockets())
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	f.running.Go(func() { f.send(ctx) })
	return f, nil
}

func (f *Flows) open(directions []Direction) error {
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
			sinks[d.Dst] = sink
		}
		for range d.Count {
			conn, err := f.listen(d.From, netip.AddrPortFrom(d.Src, 0))
			if err != nil {
				return err
			}
			probes := int(flowsLife / f.Interval)
			f.All = append(f.All, &Flow{From: d.From, To: d.To, Src: conn.LocalAddr().(*net.UDPAddr).AddrPort(),
				Dst: netip.AddrPortFrom(d.Dst, flowPort), conn: conn, sent: make([]int64, probes), arrived: make([]atomic.Int64, probes)})
		}
	}
	for _, sink := range sinks { // now that all flows are known
		f.running.Go(func() { f.receive(sink) })
	}
	return nil
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

// send sends what is due. A probe that the kernel refuses is one that does not arrive.
func (f *Flows) send(ctx context.Context) {
	const step = 5 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	var done int64 // probes of all flows
	var probe [flowProbe]byte
	begin := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		due := int64(time.Since(begin)) * int64(len(f.All)) / int64(f.Interval)
		for ; done < due; done++ {
			number, seq := done%int64(len(f.All)), done/int64(len(f.All))
			flow := f.All[number]
			if seq >= int64(len(flow.sent)) {
				return
			}
			binary.BigEndian.PutUint32(probe[:], uint32(number))
			binary.BigEndian.PutUint32(probe[4:], uint32(seq))
			flow.sent[seq] = int64(time.Since(f.epoch))
			flow.count.Store(seq + 1)
			_, _ = flow.conn.WriteToUDPAddrPort(probe[:], flow.Dst)
		}
	}
}

// receive notes what arrives until its socket is closed.
func (f *Flows) receive(sink *net.UDPConn) {
	buf := make([]byte, 2048)
	for {
		n, _, err := sink.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n != flowProbe {
			continue
		}
		number, seq := binary.BigEndian.Uint32(buf), binary.BigEndian.Uint32(buf[4:])
		if int(number) < len(f.All) && int(seq) < len(f.All[number].arrived) {
			f.All[number].arrived[seq].CompareAndSwap(0, int64(time.Since(f.epoch)))
		}
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
		if flow.arrived[seq].Load() == 0 {
			if l.Lost == 0 {
				l.First = f.epoch.Add(time.Duration(at))
			}
			l.Lost, l.Last = l.Lost+1, f.epoch.Add(time.Duration(at))
		}
	}
	l.For = time.Duration(l.Lost) * f.Interval
	return l
}

// Worst is the greatest loss among flows that a function chooses, nil for all.
func (f *Flows) Worst(from, to time.Time, choose func(*Flow) bool) (worst Loss, of *Flow) {
	for _, flow := range f.All {
		if choose != nil && !choose(flow) {
			continue
		}
		if l := f.Loss(flow, from, to); of == nil || l.Lost > worst.Lost {
			worst, of = l, flow
		}
	}
	return worst, of
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
	err := f.closeSockets()
	f.running.Wait()
	return err
}

func (f *Flows) closeSockets() error {
	var errs []error
	for _, c := range f.sockets {
		errs = append(errs, c.Close())
	}
	f.sockets = nil
	return errors.Join(errs...)
}
