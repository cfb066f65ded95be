// Package load sends requests to routers for as long as a test breaks things, and says which of them failed: GETs and POSTs, each kind
// over new connections and over kept ones. A client sends a GET again by itself where a kept connection was closed; it may not do that
// with a POST.
package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Target is one router.
type Target struct {
	// Name is what failures call it.
	Name string
	// Address is its host:port.
	Address string
	// Host is the app that is asked for.
	Host string
}

// Kind is a kind of request.
type Kind struct {
	Method string
	// Kept: all requests of this kind to a target go over one connection, as long as that is left open.
	Kept bool
}

func (k Kind) String() string {
	if k.Kept {
		return k.Method + " kept"
	}
	return k.Method + " new"
}

// Kinds are all of them.
var Kinds = []Kind{{http.MethodGet, false}, {http.MethodGet, true}, {http.MethodPost, false}, {http.MethodPost, true}}

// Failure is a request that was not answered, or not as it has to be.
type Failure struct {
	Kind   Kind
	Target string
	// Sent is when it was sent, Took how long the answer or the error took.
	Sent time.Time
	Took time.Duration
	Err  error
}

func (f Failure) String() string {
	return fmt.Sprintf("%s to %s, sent at %s, after %s: %v", f.Kind, f.Target, f.Sent.Format("15:04:05.000"), f.Took.Round(time.Millisecond), f.Err)
}

// The instances answer GET /instance with their name, and POST /count with the length of the body.
const (
	getPath  = "/instance"
	postPath = "/count"
)

// posted is longer than what nginx keeps of a body in its memory.
var posted = strings.Repeat("x", 64<<10)

// The time between two requests of a kind to a target.
const (
	everyGet  = 30 * time.Millisecond
	everyPost = 60 * time.Millisecond
)

// Options say what is sent. The zero value sends one stream of each of the Kinds to each target.
type Options struct {
	// Kinds are those that are sent. Default Kinds.
	Kinds []Kind
	// Senders is how many streams of each kind each target gets. Default 1.
	Senders int
	// Patience is how long a request may take: silence that takes longer is an outage, even where an answer comes in the end.
	// Default 5s.
	Patience time.Duration
}

// Load is a steady stream of requests. Each kind to each target waits for its answer before it sends the next one.
type Load struct {
	patience time.Duration
	stop     context.CancelFunc
	all      sync.WaitGroup

	mu sync.Mutex
	r  Result
}

// Result is what became of the requests.
type Result struct {
	Sent map[Kind]int
	// Answered is how many were answered as they have to be.
	Answered map[Answer]int
	Failed   []Failure
	// Slowest is how long the slowest request took, answered or not.
	Slowest time.Duration
}

// Answer is who answered a request.
type Answer struct {
	Kind     Kind
	Target   string
	Instance string
}

// Start sends requests of all kinds to the targets until Stop.
func Start(targets ...Target) *Load { return Options{}.Start(targets...) }

// Start sends requests to the targets until Stop.
func (o Options) Start(targets ...Target) *Load {
	ctx, stop := context.WithCancel(context.Background())
	l := &Load{patience: cmp.Or(o.Patience, 5*time.Second), stop: stop, r: Result{Sent: map[Kind]int{}, Answered: map[Answer]int{}}}
	if o.Kinds == nil {
		o.Kinds = Kinds
	}
	for _, target := range targets {
		for _, kind := range o.Kinds {
			for range max(o.Senders, 1) {
				l.all.Go(func() { l.send(ctx, kind, target) })
			}
		}
	}
	return l
}

// Stop waits for the last answers.
func (l *Load) Stop() Result {
	l.stop()
	l.all.Wait()
	return l.r
}

// SoFar is what became of the requests that have been answered or lost until now.
func (l *Load) SoFar() Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.r
	r.Sent, r.Answered, r.Failed = maps.Clone(r.Sent), maps.Clone(r.Answered), slices.Clone(r.Failed)
	return r
}

func (l *Load) send(ctx context.Context, kind Kind, target Target) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: !kind.Kept}, Timeout: l.patience}
	defer client.CloseIdleConnections()
	every := everyGet
	if kind.Method == http.MethodPost {
		every = everyPost
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for ctx.Err() == nil {
		sent := time.Now()
		instance, err := request(client, kind.Method, target) // also the last one is waited for
		l.note(Failure{kind, target.Name, sent, time.Since(sent), err}, instance)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (l *Load) note(f Failure, instance string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.r.Sent[f.Kind]++
	l.r.Slowest = max(l.r.Slowest, f.Took)
	if f.Err != nil {
		l.r.Failed = append(l.r.Failed, f)
		return
	}
	l.r.Answered[Answer{f.Kind, f.Target, instance}]++
}

// request sends one request and returns the instance that answered. The whole body of a POST has to arrive.
func request(client *http.Client, method string, target Target) (instance string, err error) {
	path, body := getPath, io.Reader(nil)
	if method == http.MethodPost {
		path, body = postPath, strings.NewReader(posted)
	}
	req, err := http.NewRequest(method, "http://"+target.Address+path, body)
	if err != nil {
		return "", err
	}
	req.Host = target.Host
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return "", err
	case res.StatusCode != http.StatusOK:
		return "", fmt.Errorf("%s: %s", res.Status, strings.TrimSpace(string(answer)))
	case method == http.MethodPost && string(answer) != fmt.Sprintln(len(posted)):
		return "", fmt.Errorf("%d bytes were sent, the answer is %q", len(posted), answer)
	}
	if method == http.MethodPost {
		return res.Header.Get("X-Instance"), nil
	}
	return strings.TrimSpace(string(answer)), nil
}

// Total is how many requests were sent.
func (r Result) Total() (n int) {
	for _, sent := range r.Sent {
		n += sent
	}
	return n
}

// FailedOf is how many requests of a kind failed.
func (r Result) FailedOf(kind Kind) (n int) {
	for _, f := range r.Failed {
		if f.Kind == kind {
			n++
		}
	}
	return n
}

// After are the failures of requests that were sent after a moment.
func (r Result) After(moment time.Time) (failed []Failure) {
	for _, f := range r.Failed {
		if f.Sent.After(moment) {
			failed = append(failed, f)
		}
	}
	return failed
}

// ClosedIdle says whether a request was a POST on a kept connection that was closed before it was answered: nginx closes idle
// connections when its configuration changes, such as with a new app, and a POST that is on its way then may not be sent again by the
// client itself.
func (f Failure) ClosedIdle() bool {
	closed := errors.Is(f.Err, net.ErrClosed) || errors.Is(f.Err, syscall.ECONNRESET) || errors.Is(f.Err, syscall.EPIPE) || errors.Is(f.Err, io.EOF)
	return f.Kind == Kind{Method: http.MethodPost, Kept: true} && closed && f.Took < time.Second
}

// String is "2 of 434 requests failed (GET new 1 of 120, GET kept 0 of 121, ...)".
func (r Result) String() string {
	order := slices.SortedFunc(maps.Keys(r.Sent), func(a, b Kind) int { return slices.Index(Kinds, a) - slices.Index(Kinds, b) })
	var kinds []string
	for _, kind := range order {
		kinds = append(kinds, fmt.Sprintf("%s %d of %d", kind, r.FailedOf(kind), r.Sent[kind]))
	}
	return fmt.Sprintf("%d of %d requests failed (%s), the slowest took %s", len(r.Failed), r.Total(), strings.Join(kinds, ", "), r.Slowest.Round(time.Millisecond))
}
