package esp_test

import (
	"bytes"
	"fmt"
	"log"

	"github.com/warrenvpn/warren/esp"
)

// Two ends of one SA: a packet is sealed where it stands, travels, and is opened where it stands.
func Example() {
	suite, err := esp.ParseSuite("aes128gcm16")
	if err != nil {
		log.Fatal(err)
	}
	cfg := esp.Config{
		SPI:          0x1000,
		Suite:        suite,
		Key:          bytes.Repeat([]byte{7}, suite.KeyLen()), // in earnest from IKE, or from crypto/rand
		ReplayWindow: esp.DefaultReplayWindow,
	}
	out, err := esp.NewOutbound(cfg)
	if err != nil {
		log.Fatal(err)
	}
	in, err := esp.NewInbound(cfg)
	if err != nil {
		log.Fatal(err)
	}
	scratch, batch := esp.NewScratch(), new(esp.Batch) // one of each for a worker

	inner := append([]byte{0x45}, "an IPv4 packet"...)
	buf := make([]byte, out.SealedLen(len(inner)))
	copy(buf[out.HeaderLen():], inner)
	run := out.Reserve(1)
	sealed := buf[:run.Seal(scratch, buf, len(inner), 4)]
	run.End()
	fmt.Println(len(inner), "bytes sealed in", len(sealed))

	again := bytes.Clone(sealed)
	batch.Add(sealed)
	batch.Add(again)
	in.OpenBatch(scratch, batch)
	for i := range batch.Len() {
		off, n, verdict := batch.Result(i)
		if verdict != esp.OK {
			fmt.Println(verdict)
			continue
		}
		fmt.Printf("%s\n", batch.Datagram(i)[off+1:off+n])
	}
	// Output:
	// 15 bytes sealed in 52
	// an IPv4 packet
	// replayed
}

// A worker of four takes only packets whose SPI says so. The SPI is known before the SA is keyed.
func ExampleTable_Allocate() {
	var inbound esp.Table[*esp.Inbound]
	spi, err := inbound.Allocate(4, 3)
	if err != nil {
		log.Fatal(err)
	}
	_, found := inbound.Lookup(spi)
	fmt.Println(spi%4, found)

	sa, err := esp.NewInbound(esp.Config{SPI: spi, Suite: esp.AES256GCM16, Key: make([]byte, esp.AES256GCM16.KeyLen())})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(inbound.Publish(spi, sa))
	_, found = inbound.Lookup(spi)
	fmt.Println(found)
	// Output:
	// 3 false
	// true
	// true
}
