#include "cli/eval_table.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/console.h"

namespace bitlog2::cli {
namespace {

using nlohmann::ordered_json;

/// A number, or "-" where there is none.
std::string number(double value, int decimals) {
  return std::isnan(value) ? "-" : fmt::format("{:.{}f}", value, decimals);
}

/// The column of probes, where there are any.
std::string probe_column(const std::string& probe) {
  return probe.empty() ? "" : fmt::format(" {:<8}", probe);
}

void add_probe(const ProbeInfo& probe, ordered_json& object) {
  if (probe.name.empty()) {
    return;
  }
  if (probe.neighbours > 0) {
    object["probe"] = "knn";
    object["neighbours"] = probe.neighbours;
  } else {
    object["probe"] = "linear";
    object["penalty"] = probe.penalty;
  }
  object["training_images"] = probe.training_images;
}

}  // namespace

void print_header(bool probes) {
  print(fmt::format("{:<9} {:<18} {:>5}{} {:>7} {:>7} {:>7} {:>7} {:>12} {:>11}\n", "engine",
                    "scheme", "bits", probe_column(probes ? "probe" : ""), "top-1", "top-5", "loss",
                    "images", "calibration", "evaluation"));
}

void print_row(const EvalRow& row) {
  const Accuracy& accuracy = row.evaluation.accuracy;
  print(fmt::format("{:<9} {:<18} {:>5}{} {:>7} {:>7} {:>7} {:>7} {:>10.1f} s {:>9.1f} s{}\n",
                    row.engine, row.scheme.empty() ? "-" : row.scheme,
                    row.scheme.empty() ? "32/32" : fmt::format("{}/{}", row.w_bits, row.a_bits),
                    probe_column(row.probe.name), number(accuracy.top1(), 2),
                    number(accuracy.top5(), 2), number(accuracy.loss(), 4), accuracy.images,
                    row.calibration_seconds, row.evaluation.seconds,
                    row.evaluation.stopped ? "  (interrupted)" : ""));
  flush_output();
}

ordered_json to_json(const std::string& model, const EvalRow& row) {
  const Accuracy& accuracy = row.evaluation.accuracy;
  ordered_json object = {{"model", model}, {"engine", row.engine}};
  object["scheme"] = row.scheme.empty() ? ordered_json(nullptr) : ordered_json(row.scheme);
  object["w_bits"] = row.w_bits;
  object["a_bits"] = row.a_bits;
  add_probe(row.probe, object);
  object["images"] = accuracy.images;
  object["skipped"] = row.evaluation.skipped.size();
  object["top1"] = accuracy.top1();  // not a number is null in JSON
  object["top5"] = accuracy.top5();
  object["loss"] = accuracy.loss();
  object["calibration_seconds"] = row.calibration_seconds;
  object["evaluation_seconds"] = row.evaluation.seconds;
  if (row.evaluation.stopped) {
    object["interrupted"] = true;
  }
  return object;
}

}  // namespace bitlog2::cli
