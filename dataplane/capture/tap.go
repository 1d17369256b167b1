package capture

import (
	"github.com/warrenvpn/warren/dataplane"
	"github.com/warrenvpn/warren/dataplane/packet"
)

// TapPort returns a port that behaves as p does and copies to w whatever is read from and written to it. Use it in place
// of p from the beginning; its Close closes p and leaves w alone.
func TapPort(p dataplane.Port, w *Writer) dataplane.Port {
	t := &tappedPort{Port: p, w: w, iface: w.addInterface(p.Name(), "clear packets", nil)}
	for _, r := range p.Readers() {
		t.readers = append(t.readers, &tappedReader{r, w, w.addRing(t.iface)})
	}
	return t
}

type tappedPort struct {
	dataplane.Port
	w       *Writer
	iface   int
	readers []dataplane.PortReader
}

func (t *tappedPort) Readers() []dataplane.PortReader { return t.readers }

func (t *tappedPort) NewWriter() dataplane.PortWriter {
	return &tappedWriter{t.Port.NewWriter(), t.w, t.w.addRing(t.iface)}
}

type tappedReader struct {
	dataplane.PortReader
	w    *Writer
	ring *ring
}

func (t *tappedReader) Read(b *packet.Batch) error {
	err := t.PortReader.Read(b)
	if err == nil && t.w.live.Load() {
		t.w.clear(t.ring, inbound, b.Packets())
	}
	return err
}

type tappedWriter struct {
	dataplane.PortWriter
	w    *Writer
	ring *ring
}

func (t *tappedWriter) Write(pkts []packet.Packet) {
	if t.w.live.Load() { // before the port may have changed the bytes
		t.w.clear(t.ring, outbound, pkts)
	}
	t.PortWriter.Write(pkts)
}

// clear copies clear packets that have not been dropped.
func (c *Writer) clear(r *ring, dir uint8, pkts []packet.Packet) {
	m := meta{kind: kindClear, dir: dir, time: c.stamp()}
	for i := range pkts {
		if p := &pkts[i]; p.Drop == packet.None {
			r.put(&m, p.Bytes())
		}
	}
	c.publish(r)
}

// TapUnderlay returns an underlay that behaves as u does and copies to w whatever is received from it and sent through
// it. Use it in place of u from the beginning; its Close closes u and leaves w alone.
func TapUnderlay(u dataplane.Underlay, w *Writer) dataplane.Underlay {
	o := new(outers)
	o.index(u) // the only one: its frames say 0
	t := &tappedUnderlay{Underlay: u, w: w, iface: w.addInterface(u.Name(), "sealed frames", o)}
	for _, r := range u.Receivers() {
		t.receivers = append(t.receivers, &tappedReceiver{r, w, w.addRing(t.iface)})
	}
	return t
}

type tappedUnderlay struct {
	dataplane.Underlay
	w         *Writer
	iface     int
	receivers []dataplane.Receiver
}

func (t *tappedUnderlay) Receivers() []dataplane.Receiver { return t.receivers }

func (t *tappedUnderlay) NewSender() dataplane.Sender {
	return &tappedSender{t.Underlay.NewSender(), t.w, t.w.addRing(t.iface)}
}

type tappedReceiver struct {
	dataplane.Receiver
	w    *Writer
	ring *ring
}

// Recv copies each datagram of a train by itself.
func (t *tappedReceiver) Recv(rx *dataplane.Rx) error {
	err := t.Receiver.Recv(rx)
	if err != nil || !t.w.live.Load() {
		return err
	}
	m := meta{kind: kindFrame, dir: inbound, time: t.w.stamp()}
	for i := range rx.Trains {
		train := &rx.Trains[i]
		m.remote, m.tos = train.Remote, train.TOS
		t.ring.putTrain(&m, train)
	}
	t.w.publish(t.ring)
	return nil
}

// putTrain copies the datagrams of a train.
func (r *ring) putTrain(m *meta, train *dataplane.Train) {
	rest := train.Data
	for range train.Count() {
		n := len(rest)
		if train.Size > 0 {
			n = min(n, train.Size)
		}
		r.put(m, rest[:n])
		rest = rest[n:]
	}
}

type tappedSender struct {
	dataplane.Sender
	w    *Writer
	ring *ring
}

func (t *tappedSender) Send(frames []dataplane.Frame) {
	if t.w.live.Load() { // before the underlay may have changed the bytes
		m := meta{kind: kindFrame, dir: outbound, time: t.w.stamp()}
		for i := range frames {
			if f := &frames[i]; f.Drop == packet.None {
				m.remote, m.tos, m.df = f.Path.Remote, f.TOS, f.DF
				t.ring.put(&m, f.Data)
			}
		}
		t.w.publish(t.ring)
	}
	t.Sender.Send(frames)
}
