package api

import (
	"bufio"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/api/wire"
)

const lines = `{"__REALTIME_TIMESTAMP":"1767323045000001","MESSAGE":"one","SYSLOG_IDENTIFIER":"a","_PID":"42","_HOSTNAME":"core-01","PRIORITY":"3"}
-- No entries --
{"__REALTIME_TIMESTAMP":"1767323046000000","MESSAGE":[104,105,255],"_COMM":"sh"}
{"MESSAGE":["first","second"],"PRIORITY":null}
{"MESSAGE":null}
`

func TestEntriesOfJournalctl(t *testing.T) {
	var got []wire.LogEntry
	require.NoError(t, readEntries(bufio.NewReader(strings.NewReader(lines)), "a.service", func(e wire.LogEntry) error {
		got = append(got, e)
		return nil
	}))
	require.Equal(t, []wire.LogEntry{
		{Time: time.UnixMicro(1767323045000001).UTC(), Hostname: "core-01", Unit: "a.service", Identifier: "a", PID: "42", Priority: 3, Message: "one"},
		{Time: time.UnixMicro(1767323046000000).UTC(), Unit: "a.service", Identifier: "sh", Priority: 6, Message: "hi\uFFFD"},
		{Unit: "a.service", Priority: 6, Message: "first"},
		{Unit: "a.service", Priority: 6},
	}, got)
	stop := errors.New("stop")
	require.ErrorIs(t, readEntries(bufio.NewReader(strings.NewReader(lines)), "", func(wire.LogEntry) error { return stop }), stop)
	require.Error(t, readEntries(bufio.NewReader(strings.NewReader(strings.Repeat("x", maxEntry+1))), "", nil))
}

func TestArgumentsOfJournalctl(t *testing.T) {
	q := JournalQuery{Unit: "a.service", Lines: 5, Since: time.Unix(7, 5000), Follow: true}
	for want, j := range map[string]Journalctl{
		"--lines=5 --since=@7.000005 --follow _SYSTEMD_UNIT=a.service + _PID=1 UNIT=a.service":                                                                      {},
		"--user --lines=5 --since=@7.000005 --follow _SYSTEMD_USER_UNIT=a.service + USER_UNIT=a.service":                                                            {User: true},
		"--directory=/j --merge --lines=5 --since=@7.000005 --follow _SYSTEMD_UNIT=a.service + _SYSTEMD_USER_UNIT=a.service + UNIT=a.service + USER_UNIT=a.service": {User: true, Directory: "/j"},
	} {
		require.Equal(t, "--output=json --all --quiet --no-pager "+want, strings.Join(j.arguments(q), " "))
	}
}
