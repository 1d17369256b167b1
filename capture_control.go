package warren

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

const (
	// The answer to a capture that has begun says by which number it is ended, and behind the packets a CaptureReport.
	captureHeader  = "Warren-Capture"
	captureTrailer = "Warren-Report"
)

// captures are those that the control socket has begun, by number.
type captures struct {
	mu   sync.Mutex
	last uint64
	end  map[uint64]context.CancelFunc
	none sync.Cond // of mu: end is empty
}

func newCaptures() *captures {
	c := &captures{end: map[uint64]context.CancelFunc{}}
	c.none.L = &c.mu
	return c
}

// begin returns the number by which a capture is ended. The caller ends it too.
func (c *captures) begin(cancel context.CancelFunc) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	c.end[c.last] = cancel
	return c.last
}

func (c *captures) ended(number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if delete(c.end, number); len(c.end) == 0 {
		c.none.Broadcast()
	}
}

// any says whether there are some that have not ended.
func (c *captures) any() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.end) > 0
}

// wait waits until all have ended.
func (c *captures) wait() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.end) > 0 {
		c.none.Wait()
	}
}

// controlCapture answers with the packets, for as long as the capture takes and the client reads. What was copied when it ends waits
// for a client that reads later, until the client goes, or the server does.
func (e *Engine) controlCapture(c *controlServer, w http.ResponseWriter, r *http.Request) {
	cfg, err := captureOf(r.URL.Query())
	if err != nil {
		writeJSON(w, http.StatusBadRequest, controlError{err.Error()})
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	number := c.captures.begin(cancel)
	defer c.captures.ended(number)
	a := &captureAnswer{to: w, control: http.NewResponseController(w), number: number}
	report, err := e.Capture(ctx, cfg, a)
	switch {
	case !a.begun && err != nil:
		writeJSON(w, http.StatusBadRequest, controlError{err.Error()})
	case err == nil:
		b, _ := json.Marshal(report) // two numbers and a string
		w.Header().Set(http.TrailerPrefix+captureTrailer, string(b))
	}
}

// endCapture ends a capture. What is left of it goes to who began it.
func (c *controlServer) endCapture(w http.ResponseWriter, r *http.Request) {
	number, err := strconv.ParseUint(r.PathValue("number"), 10, 64)
	c.captures.mu.Lock()
	cancel := c.captures.end[number]
	c.captures.mu.Unlock()
	if err != nil || cancel == nil {
		writeJSON(w, http.StatusNotFound, controlError{fmt.Sprintf("there is no capture %q", r.PathValue("number"))})
		return
	}
	cancel()
	writeJSON(w, http.StatusOK, struct{}{})
}

// captureAnswer sends on at once what it is given.
type captureAnswer struct {
	to      http.ResponseWriter
	control *http.ResponseController
	number  uint64
	begun   bool
}

func (a *captureAnswer) Write(b []byte) (int, error) {
	if !a.begun {
		a.begun = true
		a.to.Header().Set("Content-Type", "application/x-pcapng")
		a.to.Header().Set(captureHeader, strconv.FormatUint(a.number, 10))
		a.to.WriteHeader(http.StatusOK)
	}
	n, err := a.to.Write(b)
	if err == nil {
		err = a.control.Flush()
	}
	return n, err
}

// query writes a capture as the parameters of a request, captureOf reads them.
func (c *CaptureConfig) query() url.Values {
	q := url.Values{"tunnel": {c.Tunnel}}
	if c.Side != "" {
		q.Set("side", c.Side)
	}
	if c.Count != 0 {
		q.Set("count", strconv.FormatUint(c.Count, 10))
	}
	if c.Duration != 0 {
		q.Set("duration", c.Duration.String())
	}
	return q
}

func captureOf(q url.Values) (c CaptureConfig, err error) {
	c = CaptureConfig{Tunnel: q.Get("tunnel"), Side: q.Get("side")}
	if s := q.Get("count"); s != "" {
		if c.Count, err = strconv.ParseUint(s, 10, 64); err != nil {
			return c, fmt.Errorf("count: %q is no number of packets", s)
		}
	}
	if s := q.Get("duration"); s != "" {
		if c.Duration, err = time.ParseDuration(s); err != nil || c.Duration < 0 {
			return c, fmt.Errorf("duration: %q is no time; want one as 20s or 5m", s)
		}
	}
	return c, nil
}

// ErrCaptureCut says that a capture has ended in the middle, since the engine has gone.
var ErrCaptureCut = errors.New("the engine has gone, and the capture ends in the middle; its log says how many packets are missing")

// Capture has the engine capture, and writes what it sends to what open returns, until the capture ends, ctx does, or there is
// nothing to write to any more, which is an error. open is called once the engine has agreed. The report is good with an error
// of writing too. When ctx ends all that was copied before is written first, however long that takes.
func (c *Client) Capture(ctx context.Context, cfg CaptureConfig, open func() (io.Writer, error)) (report CaptureReport, err error) {
	// The engine ends it, so that what it has is complete.
	held, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	req, err := http.NewRequestWithContext(held, http.MethodPost, "http://warren/v1/captures?"+cfg.query().Encode(), nil)
	if err != nil {
		return report, fmt.Errorf("ask engine: %w", err)
	}
	begun := context.AfterFunc(ctx, cancel)
	resp, err := c.send(&http.Client{Transport: c.http.Transport}, req)
	if !begun() {
		return CaptureReport{Why: captureStopped}, nil
	}
	if err != nil {
		return report, err
	}
	defer resp.Body.Close()
	w, err := open()
	if err != nil {
		return report, err
	}
	end := sync.OnceFunc(func() { c.endCapture(held, resp.Header.Get(captureHeader)) })
	defer context.AfterFunc(ctx, end)()
	out := &keepsError{w: w}
	_, err = io.Copy(out, resp.Body)
	if out.err != nil {
		end()
		_, err = io.Copy(io.Discard, resp.Body)
	}
	if err == nil {
		err = json.Unmarshal([]byte(resp.Trailer.Get(captureTrailer)), &report)
	}
	switch {
	case out.err != nil:
		return report, out.err
	case err != nil:
		return report, ErrCaptureCut
	}
	return report, nil
}

// endCapture has the engine end a capture, and waits for a busy one until ctx ends.
func (c *Client) endCapture(ctx context.Context, number string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, "http://warren/v1/captures/"+number, nil)
	if err != nil {
		return // the engine's number would have to be none
	}
	if resp, err := c.send(&http.Client{Transport: c.http.Transport}, req); err == nil { // else it has ended by itself
		_ = resp.Body.Close()
	}
}

// keepsError tells what went wrong with writing from what went wrong with reading.
type keepsError struct {
	w   io.Writer
	err error
}

func (k *keepsError) Write(b []byte) (n int, err error) {
	n, k.err = k.w.Write(b)
	return n, k.err
}
