//! Clauses of CONVENTIONS.md of CNI: capabilities, args, chained plugins.

use super::{Clause, clause};

pub(super) const CLAUSES: &[Clause] = &[
    clause!(
        "conventions.plugins.1",
        "CONVENTIONS.md#plugins",
        Should,
        "Plugin authors should aim to support these conventions where it makes sense for their plugin",
        nobody: "authors of plugins: what they aim at; what a plugin takes is judged by the next"
    ),
    clause!(
        "conventions.plugins.2",
        "CONVENTIONS.md#plugins",
        Should,
        "Plugins should accept arguments according to these conventions if they implement the same basic functionality as other plugins",
        "PM01.a_tcp_port_is_reached_from_outside_iptables",
        "PM02.a_udp_port_is_reached",
        "HL10.ranges_of_the_runtime_come_first",
        "HL07.an_address_can_be_requested_in_three_ways",
        "ST01.addresses_of_args_and_of_the_runtime_replace_the_others",
        "BR18.the_mac_comes_from_args_and_runtime_config",
        "BW02",
        "HD02.the_runtime_chooses_a_pci_device",
    ),
    clause!(
        "conventions.plugins.3",
        "CONVENTIONS.md#plugins",
        Should,
        "If plugins have shared functionality that isn't coverered by these conventions then a PR should be opened",
        nobody: "authors of plugins: what they propose to this document"
    ),
    clause!(
        "conventions.runtimes.1",
        "CONVENTIONS.md#runtimes",
        Should,
        "Runtime authors should follow these conventions if they want to pass additional information to plugins",
        "OH12.addresses_and_ports_reach_the_plugins",
    ),
    clause!(
        "conventions.runtimes.2",
        "CONVENTIONS.md#runtimes",
        Should,
        "users should be able to select the plugin of their choice without changing the runtime",
        "LB30.what_both_sides_know_is_in_runtime_config",
        "LB14.validate_asks_each_for_its_versions",
    ),
    clause!(
        "conventions.dynamic-fields.1",
        "CONVENTIONS.md#dynamic-plugin-specific-fields-capabilities--runtime-configuration",
        Should,
        "It should return an error if it can't act on fields that were expected",
        "PR14.a_bad_configuration_is_code_7",
        "PM05.an_invalid_host_ip_is_an_error",
        "PM06",
        "FW06",
        "MV03.an_mtu_above_the_master_s_is_refused",
    ),
    clause!(
        "conventions.dynamic-fields.2",
        "CONVENTIONS.md#dynamic-plugin-specific-fields-capabilities--runtime-configuration",
        Should,
        "or where the field values were malformed",
        "PR15.garbage_never_kills_a_plugin",
        "PM05.an_invalid_host_ip_is_an_error",
        "PM06",
        "HL11.impossible_ranges_are_refused",
        "ST01.what_is_no_address_is_refused_in_known_words",
    ),
    clause!(
        "conventions.dynamic-fields.3",
        "CONVENTIONS.md#dynamic-plugin-specific-fields-capabilities--runtime-configuration",
        Should,
        "This method of passing information to a plugin is recommended when the following conditions hold",
        nobody: "authors of plugins and runtimes: which of three ways they choose"
    ),
    clause!(
        "conventions.dynamic-fields.4",
        "CONVENTIONS.md#dynamic-plugin-specific-fields-capabilities--runtime-configuration",
        Should,
        "Dynamic information (i.e. data that a runtime fills out) should be placed in a runtimeConfig section",
        "LB30.what_both_sides_know_is_in_runtime_config",
    ),
    clause!(
        "conventions.dynamic-fields.5",
        "CONVENTIONS.md#dynamic-plugin-specific-fields-capabilities--runtime-configuration",
        Should,
        "it should be included as part of a network configuration list",
        nobody: "administrators: what they write into a file"
    ),
    clause!(
        "conventions.args.1",
        "CONVENTIONS.md#args-in-network-config",
        Should,
        "args should be used for optional meta-data",
        nobody: "authors of runtimes: which of three ways they choose"
    ),
    clause!(
        "conventions.args.2",
        "CONVENTIONS.md#args-in-network-config",
        Should,
        "plugins that don't understand that data should just ignore it",
        "PR25.every_plugin_ignores_args_it_does_not_know",
    ),
    clause!(
        "conventions.args.3",
        "CONVENTIONS.md#args-in-network-config",
        ShouldNot,
        "Runtimes should not require that a plugin understands or consumes that data provided",
        "LB09.args_need_nobody_who_reads_them",
    ),
    clause!(
        "conventions.args.4",
        "CONVENTIONS.md#args-in-network-config",
        ShouldNot,
        "a runtime should not expect to receive an error if the data could not be acted on",
        nobody: "authors of runtimes: an expectation shows in nothing that a runtime does"
    ),
    clause!(
        "conventions.args.5",
        "CONVENTIONS.md#args-in-network-config",
        Should,
        "This method of passing information to a plugin is recommended when the information is optional",
        nobody: "authors of runtimes: which of three ways they choose"
    ),
    clause!(
        "conventions.cni_args.1",
        "CONVENTIONS.md#cni_args",
        Should,
        "The use of CNI_ARGS is deprecated and args should be used instead",
        nobody: "authors of runtimes: which of three ways they choose; cnitool and nerdctl keep to CNI_ARGS"
    ),
    clause!(
        "conventions.cni_args.2",
        "CONVENTIONS.md#cni_args",
        Must,
        "the plugin must ignore the CNI_ARGS Field",
        "HL07.args_take_the_place_of_cni_args",
        "ST01.args_take_the_place_of_cni_args",
        "BR18.args_take_the_place_of_cni_args",
    ),
    clause!(
        "conventions.chained-plugins.1",
        "CONVENTIONS.md#chained-plugins",
        Should,
        "If plugins are agnostic about the type of interface created, they SHOULD work in a chained mode and configure existing interfaces",
        "PR32.every_chained_plugin_passes_the_result_on",
        "TU05.attributes_are_set_and_put_back",
        "IV02.chained_it_takes_link_and_addresses_of_the_plugin_before",
        "LO02.a_prev_result_is_passed_on",
    ),
    clause!(
        "conventions.chained-plugins.2",
        "CONVENTIONS.md#chained-plugins",
        Should,
        "it should accept any previous result that includes a host-side interface, including tap devices",
        "SBR02.bridge_takes_the_host_side_of_the_plugin_before_it",
    ),
];
