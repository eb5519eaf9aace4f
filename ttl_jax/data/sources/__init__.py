"""Opens photographs and pairs by the name of their source."""

# Sources that render rain anew for each crop. Defined here, so that --help imports no
# library.
LIVE_RAIN = (
    "rain:CLEAN, kinds:CLEAN, additive:CLEAN, holes:CLEAN, smears:CLEAN, "
    "streaks:PAIRS on CLEAN"
)
