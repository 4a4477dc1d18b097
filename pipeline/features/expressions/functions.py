"""The SQL functions that expressions may call, with how large their results can be, and why others are refused.

A function is on the list if its result depends on its arguments alone, its time grows with their size, and its size is
bounded by them. `tests/features/expressions/test_functions.py` compares the list with DuckDB's own catalog.
"""

from collections.abc import Mapping
from typing import Literal

#: How the size of a result is bounded. `fixed`: a number or a date. `short`: a text of at most 80 bytes. `part`: at
#: most as large as the first argument. `sum`: as the arguments together. A number: that many times the arguments. The
#: others depend on literal arguments, or on a lambda.
Size = (
    Literal[
        "fixed", "short", "part", "group", "sum", "separator", "replace", "pad", "repeat", "range", "strftime",
        "filter", "apply",
    ]
    | int
)  # fmt: skip

_FIXED = """
    abs acos acosh asin asinh atan atan2 atanh bit_count bit_length cbrt ceil ceiling cos cosh cot degrees even exp
    factorial floor fmod gamma gcd greatest_common_divisor lcm least_common_multiple lgamma ln log log10 log2 mod pi pow
    power radians round round_even roundbankers sign signbit sin sinh sqrt tan tanh trunc xor isfinite isinf isnan fdiv
    nextafter divide multiply * / // % ** ^ & << >> @ ~ !~~ ~~ ~~* !~~* ~~~ ^@
    ascii char_length character_length chr length length_grapheme len strlen octet_length ord unicode instr position
    strpos contains starts_with ends_with prefix suffix hamming mismatches regexp_matches regexp_full_match
    like_escape not_like_escape ilike_escape not_ilike_escape md5_number
    age century date_add date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day
    dayofmonth dayofweek dayofyear days_in_month decade epoch epoch_ms epoch_us epoch_ns era hour isodow isoyear julian
    last_day make_date make_time make_timestamp make_timestamp_ms make_timestamp_ns make_timestamptz microsecond
    millennium millisecond minute month nanosecond normalized_interval quarter second strptime try_strptime
    time_bucket timezone timezone_hour timezone_minute to_centuries to_days to_decades to_hours to_microseconds
    to_milliseconds to_minutes to_months to_quarters to_seconds to_timestamp to_weeks to_years week weekday weekofyear
    year yearweek
    array_length cardinality list_contains array_contains list_has array_has list_has_all array_has_all list_has_any
    array_has_any list_position array_position list_indexof array_indexof list_unique array_unique
    list_avg list_bit_and list_bit_or list_bit_xor list_bool_and list_bool_or list_count list_kurtosis
    list_kurtosis_pop list_mad list_product list_sem list_skewness list_stddev_pop list_stddev_samp list_sum
    list_var_pop list_var_samp list_cosine_distance list_cosine_similarity list_distance list_dot_product
    list_inner_product list_negative_dot_product list_negative_inner_product
    json_array_length json_exists json_valid json_type
"""
_PART = """
    left left_grapheme ltrim nullif reverse right right_grapheme rtrim split_part substr substring
    substring_grapheme trim
    array_distinct array_extract array_intersect array_pop_back array_pop_front array_reverse array_reverse_sort
    array_slice array_sort list_any_value list_distinct list_element list_extract list_first list_intersect list_last
    list_max list_median list_min list_reverse list_reverse_sort list_slice list_sort struct_extract struct_extract_at
"""
_SUM = """
    + - add subtract | || concat greatest if least
    array_append array_cat array_concat array_prepend array_push_back array_push_front array_value flatten list_append
    list_cat list_concat list_pack list_prepend list_value row struct_pack
    ->> json_extract json_extract_path json_extract_path_text json_extract_string
"""
_SIZES: Mapping[Size, str] = {
    "fixed": _FIXED,
    "short": "dayname md5 monthname sha1 sha256",
    "part": _PART,
    "group": "regexp_extract",
    "sum": _SUM,
    2: "from_base64 from_hex unhex regexp_escape to_base64 base64 hex to_hex encode decode url_decode",
    5: "translate",
    3: "lcase lower nfc_normalize strip_accents ucase upper url_encode",
    # each piece takes 16 bytes besides its text
    17: "regexp_extract_all regexp_split_to_array split str_split str_split_regex string_split string_split_regex"
    " string_to_array",
    "separator": "concat_ws array_to_string",
    "replace": "regexp_replace replace",
    "pad": "lpad rpad",
    "repeat": "repeat",
    "range": "generate_series range",
    "strftime": "strftime",
    "filter": "array_filter filter list_filter",
    "apply": "apply array_apply array_transform list_apply list_transform",
}
#: Functions by name.
SIZES: Mapping[str, Size] = {name: size for size, names in _SIZES.items() for name in names.split()}

#: Arguments that must be literals, by index, since time or size depends on them: patterns, formats, paths and zones.
LITERALS: Mapping[str, tuple[int, ...]] = {
    "~~": (1,),
    "!~~": (1,),
    "~~*": (1,),
    "!~~*": (1,),
    "~~~": (1,),
    "like_escape": (1, 2),
    "not_like_escape": (1, 2),
    "ilike_escape": (1, 2),
    "not_ilike_escape": (1, 2),
    "regexp_matches": (1, 2),
    "regexp_full_match": (1, 2),
    "regexp_extract": (1, 2, 3),
    "regexp_extract_all": (1, 2, 3),
    "regexp_replace": (1, 2, 3),
    "regexp_split_to_array": (1, 2),
    "str_split_regex": (1, 2),
    "string_split_regex": (1, 2),
    "replace": (2,),
    "lpad": (1,),
    "rpad": (1,),
    "repeat": (1,),
    "range": (0, 1, 2),
    "generate_series": (0, 1, 2),
    "concat_ws": (0,),
    "array_to_string": (1,),
    "timezone": (0,),
    "json_array_length": (1,),
    "json_exists": (1,),
    "json_type": (1,),
    "->>": (1,),
    "json_extract": (1,),
    "json_extract_path": (1,),
    "json_extract_path_text": (1,),
    "json_extract_string": (1,),
}

#: Functions that search a text again from every match, or sort its combining marks: the time may grow with the square
#: of its length (measured: 43 s for 60 kB), and DuckDB cannot be interrupted meanwhile.
RESCANNING = frozenset(
    {
        "nfc_normalize",
        "regexp_extract_all",
        "regexp_replace",
        "regexp_split_to_array",
        "str_split_regex",
        "string_split_regex",
    }
)
#: The wildcards in the pattern of a LIKE or GLOB, whose time grows with the length of the text to the power of their
#: number.
MOST_WILDCARDS = 3

_REASONS = {
    "reads the clock, so a row would not get the same value twice": """
        ago current_date current_localtime current_localtimestamp current_time current_timestamp get_current_time
        get_current_timestamp localtime localtimestamp now today transaction_timestamp""",
    "is random, so a row would not get the same value twice": """
        gen_random_uuid random setseed uuid uuidv4 uuidv7""",
    "reads or changes the state of the session, not the row": """
        currval current_catalog current_connection_id current_database current_query current_query_id current_role
        current_schema current_schemas current_setting current_transaction_id current_user getenv getvariable
        in_search_path nextval session_user setval sleep_ms stats txid_current user variable version write_log""",
    "reads files": "get_block_size glob parquet_scan query query_table read_blob read_csv read_csv_auto read_json"
    " read_json_auto read_parquet read_text which_secret",
    "may take more bytes or time than its arguments bound": """
        aggregate bar bin bitstring damerau_levenshtein editdist3 format jaccard jaro_similarity jaro_winkler_similarity
        levenshtein list_aggr list_aggregate list_reduce list_resize array_aggr array_aggregate array_reduce
        array_resize printf reduce to_binary""",
}
#: Why a function is refused, for the functions that people try.
REASONS: Mapping[str, str] = {name: reason for reason, names in _REASONS.items() for name in names.split()}

_TYPES = """
    bool boolean logical tinyint smallint integer int bigint hugeint utinyint usmallint uinteger ubigint uhugeint int1
    int2 int4 int8 int16 int32 int64 int128 uint8 uint16 uint32 uint64 uint128 short long signed float real double
    float4 float8 decimal dec numeric varchar text string char bpchar date time timestamp datetime timestamp_s
    timestamp_ms timestamp_us timestamp_ns timestamptz interval blob bytea list struct row
"""
#: The types that values may be cast to.
TYPES = frozenset({"timestamp with time zone", *_TYPES.split()})
