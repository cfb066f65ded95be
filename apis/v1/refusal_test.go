package v1

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLeftOut: what a router says is read as it is written, by this version and by the one before.
func TestLeftOut(t *testing.T) {
	refusals := []RouteRefusal{
		{App: "web", Key: "/services/web/web/web@1", Reason: "InvalidAddress", Message: "want ip:port"},
		{App: "shop", Reason: "HostTaken", Message: "host a: b belongs to app web"},
	}
	require.Equal(t, map[string]string{"/services/web/web/web@1": "InvalidAddress: want ip:port", "shop": "HostTaken: host a: b belongs to app web"},
		RefusalTexts(refusals, 0))
	require.Equal(t, "and 3 more", RefusalTexts(refusals, 3)["..."])
	require.Nil(t, RefusalTexts(nil, 0))

	before := Router{Refused: RefusalTexts(refusals, 3)}
	require.Equal(t, refusals, before.LeftOut())
	text, err := json.Marshal(Router{Refusals: refusals, MoreRefusals: 3, Refused: before.Refused})
	require.NoError(t, err)
	var read Router
	require.NoError(t, json.Unmarshal(text, &read))
	require.Equal(t, refusals, read.LeftOut())
	require.Equal(t, 3, read.MoreRefusals)
	require.Empty(t, Router{}.LeftOut())

	read.Refusals = append(read.Refusals, RouteRefusal{App: "x", Reason: "no word", Message: "y"}, RouteRefusal{App: "x", Message: "y"},
		RouteRefusal{App: "x", Reason: "Two\nLines", Message: "y"})
	require.Equal(t, refusals, read.LeftOut(), "a reason is a word")
	require.Len(t, read.Refusals, 5, "it is left as it was read")
	require.Empty(t, Router{Refused: map[string]string{"web": "x\n: y", "/k": "NoMessage", "/l": "no reason: x", "...": "and 1 more"}}.LeftOut())
}
