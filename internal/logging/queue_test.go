package logging

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// lines is that many numbered lines.
func lines(first, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "line %d\n", first+i)
	}
	return b.String()
}

func TestAPipeThatNothingReadsBlocksNoCaller(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	q := NewQueue(w)
	log, err := New(q, Text, nil)
	require.NoError(t, err)
	for range 20_000 { // some 2 MB: more than a pipe and a queue hold
		log.Info("Starting unit", "unit", "a.service", "reason", "Changed", "padding", strings.Repeat("x", 30))
	}
	start := time.Now()
	q.Close()
	require.GreaterOrEqual(t, time.Since(start), flushTimeout)
	require.NoError(t, w.Close()) // ends the write that stood still
	<-q.done
}

func TestLinesAreInOrderAndWhatIsLostIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		q := newQueue(w, 100)
		_, _ = io.WriteString(q, "first\n")
		synctest.Wait() // its write stands still
		for i := range 20 {
			_, _ = io.WriteString(q, lines(i, 1))
		}
		var out bytes.Buffer
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = io.Copy(&out, r)
		}()
		synctest.Wait()
		_, _ = io.WriteString(q, "last\n")
		q.Close()
		<-q.done
		w.Close()
		<-read
		kept := (100 - len(lines(0, 10))) / len("line 10\n")
		require.Equal(t, "first\n"+lines(0, 10+kept)+fmt.Sprintf("%d lines lost\n", 10-kept)+"last\n", out.String())
	})
}

func TestAShortLineIsNotTakenAfterOneThatWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		q := newQueue(w, 100)
		for _, line := range []string{"first\n", "second\n", strings.Repeat("x", 100) + "\n", "third\n"} {
			_, _ = io.WriteString(q, line)
			synctest.Wait()
		}
		go q.Close()
		out, read := make([]byte, 0, 100), make([]byte, 100)
		for range 2 {
			n, err := r.Read(read)
			require.NoError(t, err)
			out = append(out, read[:n]...)
		}
		require.Equal(t, "first\nsecond\n2 lines lost\n", string(out))
		<-q.done
	})
}

func TestALineThatIsLargerThanTheQueue(t *testing.T) {
	var out bytes.Buffer
	q := newQueue(&out, 10)
	_, _ = io.WriteString(q, lines(0, 10))
	q.Close()
	require.Equal(t, lines(0, 10), out.String())
}

func TestLostLinesAreToldInTheLogsFormat(t *testing.T) {
	for format, want := range map[string]string{
		Text: `level=WARN msg="Lines of the log were lost" lines=3`,
		JSON: `"level":"WARN","msg":"Lines of the log were lost","lines":3}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			var b broken
			q := NewQueue(&b)
			log, err := New(q, format, nil)
			require.NoError(t, err)
			_, _ = io.WriteString(q, lines(0, 3))
			synctest.Wait()
			require.Equal(t, 1, b.writes, "what cannot be told is not tried again and again")
			b.Buffer = new(bytes.Buffer)
			log.Info("Starting unit")
			q.Close()
			told, line, _ := strings.Cut(b.String(), "\n")
			require.Contains(t, told, want)
			require.Contains(t, line, "Starting unit")
		})
	}
}

// broken is a writer that fails until it has a buffer.
type broken struct {
	*bytes.Buffer
	writes int
}

func (b *broken) Write(p []byte) (int, error) {
	b.writes++
	if b.Buffer == nil {
		return 0, errors.New("broken pipe")
	}
	return b.Buffer.Write(p)
}

func TestCloseWaitsForSlowWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s slow
		q := NewQueue(&s)
		_, _ = io.WriteString(q, lines(0, 3))
		q.Close()
		require.Equal(t, lines(0, 3), s.String())
		_, _ = io.WriteString(q, "too late\n")
		q.Close()
		require.Equal(t, lines(0, 3), s.String())
	})
}

type slow struct{ bytes.Buffer }

func (s *slow) Write(p []byte) (int, error) {
	time.Sleep(flushTimeout / 2)
	return s.Buffer.Write(p)
}

func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		q := NewQueue(w)
		_, _ = io.WriteString(q, "never read\n")
		start := time.Now()
		q.Close()
		require.Equal(t, flushTimeout, time.Since(start))
		r.Close()
		<-q.done
	})
}

func TestManyCallers(t *testing.T) {
	var out bytes.Buffer
	q := NewQueue(&out)
	log, err := New(q, Text, nil)
	require.NoError(t, err)
	var callers sync.WaitGroup
	for c := range 10 {
		callers.Go(func() {
			for i := range 100 {
				log.WithValues("caller", c).Info("Counted", "i", i)
			}
		})
	}
	callers.Wait()
	q.Close()
	require.Equal(t, 1000, count(out.Bytes()))
	for c := range 10 {
		from := 0
		for i := range 100 {
			at := strings.Index(out.String()[from:], fmt.Sprintf("caller=%d i=%d\n", c, i))
			require.GreaterOrEqual(t, at, 0, "caller %d, line %d is missing, or not in order", c, i)
			from += at
		}
	}
}
