#include "calibrate/transforms/head_equalization.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string>

#include "calibrate/sequence.h"
#include "calibrate/transforms/hadamard.h"
#include "model/forward.h"
#include "simulate/float_ops.h"

namespace bitlog2::calibration {
namespace {

constexpr std::array kOneWeight = {1.0F};

struct Roots {
  Matrix root;
  Matrix inverse;
};

/// The square root of a positive definite matrix, its smallest eigenvalues raised a little, and the
/// root's inverse.
Roots square_roots(const Matrix& matrix) {
  constexpr double kFloor = 1e-3;  // of the mean eigenvalue
  const Eigen::SelfAdjointEigenSolver<Matrix> solver(matrix);
  const double floor =
      std::max(kFloor * matrix.trace() / static_cast<double>(matrix.rows()), 1e-12);
  const Vector values = solver.eigenvalues().cwiseMax(floor).cwiseSqrt();
  const Matrix& vectors = solver.eigenvectors();
  return {vectors * values.asDiagonal() * vectors.transpose(),
          vectors * values.cwiseInverse().asDiagonal() * vectors.transpose()};
}

/// The second moment about `point`.
Matrix second_moment(const Moments& moments, const Vector& point) {
  const Vector offset = moments.input_mean - point;
  return moments.gram + offset * offset.transpose();
}

/// Rows [first, first + n) of a layer: x -> x G for the outputs x they give, less `shift`.
void transform_rows(Linear& layer, std::size_t first, const Matrix& basis, const Vector& shift) {
  const auto count = static_cast<std::size_t>(basis.rows());
  const auto rows =
      std::span(layer.weight).subspan(first * layer.in_features, count * layer.in_features);
  copy_to(product(view(basis).transposed(), view(to_matrix(rows, count))), rows);
  const auto bias = std::span(layer.bias).subspan(first, count);
  const Vector moved = basis.transpose() * (to_vector(bias) - shift);
  copy_to(moved, bias);
}

/// The float forward pass that sums up the moments of attention's heads.
class SummingOps : public simulate::FloatOps<simulate::NoQuantization> {
 public:
  SummingOps(const ModelConfig& config, std::span<const float> images,
             simulate::NoQuantization& none, ThreadPool& pool, const LayerObserver& observer,
             std::map<std::string, HeadMoments>& moments)
      : FloatOps(config, images, none, pool, observer), pool_(pool), moments_(moments) {}

  Tensor attention(const Attention& attn, const Tensor& qkv) {
    Tensor context = FloatOps::attention(attn, copy(qkv));
    moments_.try_emplace(attn.name, attn).first->second.add(qkv.values(), context.values(), pool_);
    return context;
  }

  /// The moments are taken over all tokens.
  static bool drops_unread_tokens() { return false; }

 private:
  ThreadPool& pool_;
  std::map<std::string, HeadMoments>& moments_;
};

}  // namespace

Matrix balancing_basis(const Matrix& a, const Matrix& b) {
  const auto [root, inverse] = square_roots(a);
  const Matrix product = root * square_roots(b).root;                                 // U S V^T
  const Eigen::SelfAdjointEigenSolver<Matrix> solver(product * product.transpose());  // U S^2 U^T
  // The largest first: the order matters where the entries of H differ in magnitude.
  const Vector roots = solver.eigenvalues().reverse().cwiseMax(1e-24).cwiseSqrt().cwiseSqrt();
  const Matrix vectors = solver.eigenvectors().rowwise().reverse();
  return inverse * vectors * roots.asDiagonal() * hadamard(a.rows());
}

HeadMoments::HeadMoments(const Attention& attn)
    : head_dim_(attn.proj.in_features / attn.num_heads),
      sums_(attn.num_heads * kKinds, MomentSums(head_dim_, 0, kOneWeight)) {}

void HeadMoments::add(std::span<const float> qkv, std::span<const float> context,
                      ThreadPool& pool) {
  const std::size_t channels = sums_.size() / kKinds * head_dim_;
  const std::size_t rows = context.size() / channels;
  pool.parallel_for(sums_.size(), 1, [&](std::size_t begin, std::size_t end) {
    ThreadPool serial(1);
    std::vector<float> part(rows * head_dim_);
    for (std::size_t i = begin; i < end; ++i) {
      const std::size_t head = i / kKinds;
      const std::size_t kind = i % kKinds;
      const bool is_context = kind == Kind::context;
      const std::size_t step = is_context ? channels : 3 * channels;
      const float* from =
          (is_context ? context.data() : qkv.data() + kind * channels) + head * head_dim_;
      for (std::size_t row = 0; row < rows; ++row) {
        std::copy_n(from + row * step, head_dim_, part.data() + row * head_dim_);
      }
      sums_[i].add(part, {}, serial);
    }
  });
}

void equalize_heads(Attention& attn, const HeadMoments& moments) {
  const std::size_t channels = attn.proj.in_features;
  const std::size_t head_dim = channels / attn.num_heads;
  for (Linear* layer : {&attn.qkv, &attn.proj}) {
    layer->has_bias = true;
    layer->bias.resize(layer->out_features);
  }
  const Vector zero = Vector::Zero(index(head_dim));
  Matrix projection = to_matrix(attn.proj.weight, attn.proj.out_features);
  Vector bias = to_vector(attn.proj.bias);
  for (std::size_t head = 0; head < attn.num_heads; ++head) {
    const std::size_t first = head * head_dim;
    const Moments keys = moments.of(head, HeadMoments::key);
    const Moments values = moments.of(head, HeadMoments::value);
    if (attn.rotation.empty()) {  // another basis would be turned in another way
      const Matrix scores =
          balancing_basis(second_moment(moments.of(head, HeadMoments::query), zero), keys.gram);
      transform_rows(attn.qkv, first, scores, zero);
      transform_rows(attn.qkv, channels + first, scores.inverse().transpose(), keys.input_mean);
    }

    auto weights = projection.middleCols(index(first), index(head_dim));
    bias += weights * values.input_mean;
    // Attention averages the errors of values as it averages values.
    const Matrix context = second_moment(moments.of(head, HeadMoments::context), values.input_mean);
    const double averaging = context.trace() / std::max(values.gram.trace(), 1e-30);
    Matrix basis =
        balancing_basis(context + averaging * values.gram, weights.transpose() * weights);
    // All heads get contexts of one size, since proj's input has one quantizer.
    const double size =
        (basis.transpose() * context * basis).trace() / static_cast<double>(head_dim);
    basis /= std::sqrt(std::max(size, 1e-30));
    transform_rows(attn.qkv, 2 * channels + first, basis, values.input_mean);
    weights = (weights * basis.inverse().transpose()).eval();
  }
  copy_to(projection, attn.proj.weight);
  copy_to(bias, attn.proj.bias);
}

void equalize_heads(Model& model, const Images& images, ThreadPool& pool,
                    const std::function<void()>& work_on) {
  const LayerObserver nobody;
  simulate::NoQuantization none;
  std::map<std::string, HeadMoments> moments;
  // So many images are enough for matrices of a head's size; they are spread over all images.
  constexpr std::size_t kEnough = 128;
  const std::size_t step = kImagesPerChunk * std::max<std::size_t>(1, images.count / kEnough);
  for (std::size_t first = 0; first < images.count; first += step) {
    const auto pixels = images.read(first, std::min(kImagesPerChunk, images.count - first));
    SummingOps ops(model.config, pixels, none, pool, nobody, moments);
    static_cast<void>(forward_blocks(model, ops));
    work_on();
  }
  std::vector<Attention*> attentions;
  for (Stage& stage : model.stages) {
    for (Block& block : stage.blocks) {
      attentions.push_back(&block.attn);
    }
  }
  pool.parallel_for(attentions.size(), 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      equalize_heads(*attentions[i], moments.at(attentions[i]->name));
    }
  });
}

}  // namespace bitlog2::calibration
