package capture

import (
	"bufio"
	"encoding/binary"
	"io"
	"runtime"
	"time"

	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// Numbers of the pcapng format.
const (
	blockEnhancedPacket = 6
	optionEnd           = 0
	optionFlags         = 2 // epb_flags
	// epbFixed is an enhanced packet block without its data: 28 bytes in front, then the flags option of 8, the end of
	// options of 4 and the length once more.
	epbFixed = 28 + 8 + 4 + 4
)

// file writes pcapng blocks. gopacket's writer does all but the packets, for which it has no options.
type file struct {
	out  *bufio.Writer
	ng   *pcapgo.NgWriter // nil before the first interface
	snap int
	head [28]byte
	tail [3 + 16]byte
}

func newFile(w io.Writer, snap int) *file {
	return &file{out: bufio.NewWriterSize(w, 1<<16), snap: snap}
}

// addInterface describes the next interface. The first one begins the section.
func (f *file) addInterface(name, description string) error {
	i := pcapgo.NgInterface{
		Name: name, Description: description, OS: runtime.GOOS, LinkType: layers.LinkTypeRaw, SnapLength: uint32(f.snap),
	}
	var err error
	if f.ng == nil {
		f.ng, err = pcapgo.NewNgWriterInterface(f.out, i, pcapgo.NgWriterOptions{
			SectionInfo: pcapgo.NgSectionInfo{Hardware: runtime.GOARCH, OS: runtime.GOOS, Application: "warren"},
		})
	} else {
		_, err = f.ng.AddInterface(i)
	}
	if err != nil {
		return err
	}
	return f.ng.Flush()
}

// packet writes one packet, whose captured bytes are header and data one behind the other.
func (f *file) packet(iface int, m *meta, header, data []byte, length int) error {
	n := len(header) + len(data)
	pad := -n & 3
	total := uint32(epbFixed + n + pad)
	le := binary.LittleEndian
	h := f.head[:]
	le.PutUint32(h, blockEnhancedPacket)
	le.PutUint32(h[4:], total)
	le.PutUint32(h[8:], uint32(iface))
	le.PutUint32(h[12:], uint32(uint64(m.time)>>32))
	le.PutUint32(h[16:], uint32(m.time))
	le.PutUint32(h[20:], uint32(n))
	le.PutUint32(h[24:], uint32(length))
	t := f.tail[3-pad:] // the first three bytes are padding and stay zero
	o := f.tail[3:]
	le.PutUint16(o, optionFlags)
	le.PutUint16(o[2:], 4)
	le.PutUint32(o[4:], uint32(m.dir))
	le.PutUint32(o[8:], optionEnd)
	le.PutUint32(o[12:], total)
	for _, part := range [][]byte{h, header, data, t} {
		if _, err := f.out.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// statistics says how much an interface saw and how much of it is missing here.
func (f *file) statistics(iface int, start, end time.Time, captured, dropped uint64) error {
	err := f.ng.WriteInterfaceStats(iface, pcapgo.NgInterfaceStatistics{
		LastUpdate: end, StartTime: start, EndTime: end, PacketsReceived: captured + dropped, PacketsDropped: dropped,
	})
	if err != nil {
		return err
	}
	return f.ng.Flush()
}
